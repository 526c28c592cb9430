"""What Python functions written for Apache Texera import, so that they run here unchanged.

Rows are dicts with a few ways more to reach their fields, tables are pandas frames. pandas is only loaded where a table
or a batch is asked for. What would need a network or Texera's own services says so when it is used.
"""

import sys
from typing import Any, Dict, Iterator, List, Mapping, Optional, TypeVar, Union

__all__ = [
    "Any",
    "Batch",
    "BatchLike",
    "DatasetFileDocument",
    "Dict",
    "Iterator",
    "List",
    "Mapping",
    "Optional",
    "State",
    "Table",
    "TableLike",
    "Tuple",
    "TupleLike",
    "UDFBatchOperator",
    "UDFOperatorV2",
    "UDFSourceOperator",
    "UDFTableOperator",
    "Union",
    "logger",
    "overrides",
]

TupleLike = TypeVar("TupleLike")
TableLike = TypeVar("TableLike")
BatchLike = TypeVar("BatchLike")


class Tuple(dict):
    """A row: fields by name or position, in the order of the columns. Iterating gives the values."""

    __slots__ = ()

    def __missing__(self, key):
        if isinstance(key, int) and not isinstance(key, bool):
            return list(self.values())[key]
        raise KeyError(key)

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError("the tuple has no field %r; it has %s" % (name, ", ".join(self.keys()))) from None

    def __iter__(self):
        return iter(self.values())

    def __hash__(self):
        return hash(tuple(self.items()))

    def __str__(self):
        return "Tuple[%s]" % ", ".join("%r: %r" % pair for pair in self.items())

    __repr__ = __str__

    def get_field_names(self):
        return tuple(self.keys())

    def get_fields(self, output_field_names=None):
        return tuple(self.values()) if output_field_names is None else tuple(self[n] for n in output_field_names)

    def as_dict(self):
        return dict(self.items())

    def as_key_value_pairs(self):
        return list(self.items())

    def as_series(self):
        import pandas

        return pandas.Series(self.as_dict())

    def get_partial_tuple(self, attribute_names):
        return Tuple({name: self[name] for name in attribute_names})


class Operator:
    def open(self) -> None:
        """Called once, before the first row."""

    def close(self) -> None:
        """Called once, after the last row."""


class UDFOperatorV2(Operator):
    def process_tuple(self, tuple_, port):
        raise NotImplementedError("the operator's class defines no process_tuple(self, tuple_, port)")

    def on_finish(self, port):
        """Called when an input has no more rows."""


class UDFTableOperator(Operator):
    def process_table(self, table, port):
        raise NotImplementedError("the operator's class defines no process_table(self, table, port)")


class UDFBatchOperator(Operator):
    # Rows of a batch.
    BATCH_SIZE: int = 10

    def process_batch(self, batch, port):
        raise NotImplementedError("the operator's class defines no process_batch(self, batch, port)")


class UDFSourceOperator(Operator):
    def produce(self):
        raise NotImplementedError("the operator's class defines no produce(self)")


def tables():
    """Table and Batch as subclasses of pandas.DataFrame."""
    found = _tables.get("both")
    if found is None:
        import pandas

        class Table(pandas.DataFrame):
            """A frame made of a frame, or of a list of rows."""

            def __init__(self, table_like=None):
                if isinstance(table_like, list):
                    table_like = pandas.DataFrame.from_records([dict(Tuple(row).items()) for row in table_like])
                super().__init__(table_like)

            def as_tuples(self):
                names = list(self.columns)
                for row in self.itertuples(index=False, name=None):
                    yield Tuple(zip(names, row))

        class Batch(pandas.DataFrame):
            """Some rows as a frame."""

            def __init__(self, batch_like=None):
                super().__init__(batch_like)

        found = _tables["both"] = (Table, Batch)
    return found


_tables = {}


class _Later(type):
    """Stands for a class of pandas until one is made, so that functions without tables do not wait for pandas."""

    def __call__(cls, *arguments):
        return tables()[cls.place](*arguments)

    def __instancecheck__(cls, one):
        return "pandas" in sys.modules and isinstance(one, tables()[cls.place])


class Table(metaclass=_Later):
    place = 0


class Batch(metaclass=_Later):
    place = 1


class State(dict):
    """Named values, also as attributes."""

    def __init__(self, table=None, pass_to_all_downstream=False):
        super().__init__()
        self.passToAllDownstream = pass_to_all_downstream

    def add(self, key, value, value_type=None):
        self[key] = value

    __setattr__ = dict.__setitem__

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def overrides(method=None, **_):
    """Marks a method; checks nothing."""
    return method if method is not None else lambda later: later


class DatasetFileDocument:
    def __init__(self, file_path):
        raise RuntimeError(
            "A user function reaches no network and no dataset service: read %r with a scan, and link it to an input."
            % (file_path,)
        )


class _Logger:
    """Lines for the operator's console."""

    def _write(self, stream, message, arguments, named):
        text = str(message)
        if arguments or named:
            text = text.format(*arguments, **named)
        print(text, file=stream)

    def info(self, message, *arguments, **named):
        self._write(sys.stdout, message, arguments, named)

    trace = debug = success = info

    def warning(self, message, *arguments, **named):
        self._write(sys.stderr, message, arguments, named)

    error = critical = exception = warning


logger = _Logger()
