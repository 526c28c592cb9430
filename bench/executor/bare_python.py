"""The yardstick of user functions: the same work in a bare Python process that reads and writes Parquet with pyarrow.

    python bare_python.py (tuple|table|batch) IN.parquet OUT.parquet
"""

import sys

import pyarrow
import pyarrow.parquet

BATCH_ROWS = 10_000


def process_tuple(tuple_):
    return {"late": tuple_["delay"] > 15}


def process_table(table):
    table["late"] = table["delay"] > 15
    return table


def by_tuple(source, target):
    """Columns as lists, a dict for each row: the quickest way from Parquet to rows and back that pyarrow has."""
    writer = None
    for batch in pyarrow.parquet.ParquetFile(source).iter_batches():
        names = batch.schema.names
        late = []
        for values in zip(*[column.to_pylist() for column in batch.columns]):
            late.append(process_tuple(dict(zip(names, values)))["late"])
        table = pyarrow.table([*batch.columns, pyarrow.array(late)], [*names, "late"])
        writer = writer or pyarrow.parquet.ParquetWriter(target, table.schema)
        writer.write_table(table)
    writer.close()


def by_table(source, target):
    frame = process_table(pyarrow.parquet.read_table(source).to_pandas())
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(frame, preserve_index=False), target)


def by_batch(source, target):
    writer = None
    for batch in pyarrow.parquet.ParquetFile(source).iter_batches(BATCH_ROWS):
        table = pyarrow.Table.from_pandas(process_table(batch.to_pandas()), preserve_index=False)
        writer = writer or pyarrow.parquet.ParquetWriter(target, table.schema)
        writer.write_table(table)
    writer.close()


way, source, target = sys.argv[1:]
{"tuple": by_tuple, "table": by_table, "batch": by_batch}[way](source, target)
