"""Calls of user code once per batch or table: columns as pandas frames, and frames as columns."""

import numpy
import pandas

from postern_columns import (
    BOOLEAN,
    DOUBLE,
    INT32,
    INT64,
    bytes_of,
    encode_values,
    json_value,
    reply_body,
    texts_of,
)
from postern_output import MOST_ROWS, Refusal, ToOutput, is_frame

# Frames with fewer rows are gathered before they are sent.
FEW_ROWS = 512
EXACT = 2**53


class PendingRows:
    """Rows of one input port that came in frames and were not handed out yet."""

    def __init__(self, schema):
        self.schema = schema
        self.parts = []
        self.rows = 0

    def add(self, columns, rows):
        # Texts are made while the next rows are on their way.
        for column, one in zip(columns, self.schema):
            if one["type"] in TEXTS:
                column.data = texts_of(column, rows)
        self.parts.append((columns, rows))
        self.rows += rows

    def frame(self, make):
        """All of them as one frame, which forgets them."""
        data = {}
        for c, column in enumerate(self.schema):
            data[column["name"]] = joined(column["type"], [(columns[c], rows) for columns, rows in self.parts])
        frame = pandas.DataFrame(data, copy=False)
        if not data:
            frame = pandas.DataFrame(index=range(self.rows))
        self.parts, self.rows = [], 0
        return make(frame)



TEXTS = ("string", "any")
NO_BYTES = numpy.zeros(0, "u1")
FIXED = {"integer": "<i4", "long": "<i8", "double": "<f8", "timestamp": "<i8", "boolean": "u1"}


def joined(kind, parts):
    """One column of several frames as an array that pandas takes."""
    nulls = None
    if any(column.nulls is not None for column, _ in parts):
        nulls = numpy.concatenate(
            [
                numpy.zeros(rows, "u1") if column.nulls is None else numpy.frombuffer(column.nulls, "u1")
                for column, rows in parts
            ]
        ).astype(bool)
    if kind in FIXED:
        values = numpy.concatenate([numpy.frombuffer(column.data, FIXED[kind]) for column, _ in parts] or [NO_BYTES.view(FIXED[kind])])
        return fixed(kind, values, nulls)
    values = []
    for column, rows in parts:
        values += bytes_of(column, rows) if kind == "binary" else column.data
    if kind == "any":
        values = [json_value(value) for value in values]
    return objects(values, nulls)


def fixed(kind, values, nulls):
    if kind == "timestamp":
        times = values.view("<M8[us]")
        if nulls is not None:
            times[nulls] = numpy.datetime64("NaT")
        return times
    if kind == "boolean":
        return values.astype(bool) if nulls is None else objects(values.astype(bool).tolist(), nulls)
    if nulls is None:
        return values
    if kind == "long" and numpy.any(numpy.abs(values[~nulls]) > EXACT):
        return objects(values.tolist(), nulls)
    # As pandas has it: a missing number is NaN, and a column with one is of floats.
    numbers = values.astype("f8")
    numbers[nulls] = numpy.nan
    return numbers


def objects(values, nulls):
    column = numpy.empty(len(values), dtype=object)
    column[:] = values
    if nulls is not None:
        column[nulls] = None
    return column


# --- frames from user code --------------------------------------------------------------------------------------------


def encode_series(series, kind):
    """Encoding, nulls or None, and data of a column of a frame; missing values of any kind are nulls."""
    dtype = series.dtype
    form = getattr(dtype, "kind", "O") if isinstance(dtype, numpy.dtype) else "O"
    if form in "iu" and kind in ("integer", "long", "double"):
        found = encode_numbers(series.to_numpy(), None, kind)
        if found is not None:
            return found
    if form == "f" and kind in ("integer", "long", "double"):
        values = series.to_numpy()
        nulls = numpy.isnan(values)
        found = encode_numbers(values, nulls if nulls.any() else None, kind)
        if found is not None:
            return found
    if form == "b" and kind == "boolean":
        return BOOLEAN, None, series.to_numpy().astype("u1").tobytes()
    if kind == "timestamp" and (form == "M" or isinstance(dtype, pandas.DatetimeTZDtype)):
        if form != "M":
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        nulls = series.isna().to_numpy()
        micros = series.to_numpy().astype("<M8[us]").view("<i8")
        if not nulls.any():
            return INT64, None, micros.tobytes()
        return INT64, nulls.astype("u1").tobytes(), numpy.where(nulls, 0, micros).tobytes()
    return encode_values(plain_values(series), kind)


def encode_numbers(values, nulls, kind):
    """Numbers as the column's type has them; None when one does not fit."""
    filled = values if nulls is None else numpy.where(nulls, 0, values)
    marks = None if nulls is None else nulls.astype("u1").tobytes()
    if kind == "double":
        return DOUBLE, marks, filled.astype("<f8").tobytes()
    if filled.dtype.kind == "f" and not (numpy.all(numpy.abs(filled) <= EXACT) and numpy.all(filled == numpy.floor(filled))):
        return None
    if len(filled) > 0:
        least, most = (-(2**31), 2**31 - 1) if kind == "integer" else (-(2**63), 2**63 - 1)
        if int(filled.min()) < least or int(filled.max()) > most:
            return None
    if kind == "integer":
        return INT32, marks, filled.astype("<i4").tobytes()
    return INT64, marks, filled.astype("<i8").tobytes()


def plain_values(series):
    """A list of Python's own values, None where one is missing."""
    values = series.tolist() if series.dtype == object else series.to_numpy(dtype=object).tolist()
    if set(map(type, values)) == {str}:
        return values
    nulls = series.isna().to_numpy()
    if nulls.any():
        values = [None if null else value for value, null in zip(values, nulls)]
    return values


class FrameOutputs:
    """Takes what a function over frames gives: frames, rows, or lists of rows."""

    def __init__(self, outputs):
        self.outputs = outputs

    def take(self, value):
        outputs = self.outputs
        for item in outputs.items(value):
            if isinstance(item, ToOutput):
                port = outputs.port(item.port)
                for inner in outputs.items(item.value):
                    self.take_one(port, inner)
            else:
                self.take_one(outputs.ports[0], item)

    def take_one(self, port, item):
        if item is None:
            return
        if is_frame(item):
            self.take_frame(port, item)
        elif isinstance(item, list):
            for row in item:
                self.take_one(port, row)
        else:
            port.add_free(self.outputs.row(item))
            self.outputs.flush_free_if_full(port)

    def take_frame(self, port, frame):
        series = []
        for name in port.names:
            if name not in frame.columns:
                raise Refusal('%s returned a frame without the column "%s"; add it.' % (port.name, name))
            column = frame[name]
            if is_frame(column):
                raise Refusal('%s returned a frame that has the column "%s" twice.' % (port.name, name))
            series.append(column)
        rows = len(frame)
        if rows < FEW_ROWS:
            for values, column in zip(port.columns, series):
                values.extend(plain_values(column))
            port.free += rows
            self.outputs.flush_free_if_full(port)
            return
        self.outputs.flush(free=True)
        for start in range(0, rows, MOST_ROWS):
            part = [column.iloc[start : start + MOST_ROWS] for column in series]
            columns = [encode_series(column, kind) for column, kind in zip(part, port.kinds)]
            self.outputs.write(reply_body(port.number, len(part[0]) if part else 0, None, columns))


class TableCalls:
    """Calls `function(frame)` once per input port, or once per `size` rows."""

    def __init__(self, outputs, inputs, function, passes_port, make, size):
        self.taker = FrameOutputs(outputs)
        self.outputs = outputs
        self.pending = [PendingRows(schema) for schema in inputs]
        self.left = [None for _ in inputs]
        self.function = function
        self.passes_port = passes_port
        self.make = make
        self.size = size
        # The rows of the call that runs, from 1.
        self.batch = None
        self.called = [0 for _ in inputs]

    def run(self, port, columns, rows):
        self.pending[port].add(columns, rows)
        if self.size is not None and self.rows_of(port) >= self.size:
            self.call_batches(port, self.size)
        self.outputs.flush(free=True)

    def end(self, port):
        if self.size is None:
            self.call(port, self.pending[port].frame(self.make))
        elif self.rows_of(port) > 0:
            self.call_batches(port, 1)
        self.outputs.flush(free=True)

    def rows_of(self, port):
        left = self.left[port]
        return self.pending[port].rows + (0 if left is None else len(left))

    def call_batches(self, port, least):
        """Calls with batches of `size` rows while at least `least` are there."""
        frame = self.pending[port].frame(pandas.DataFrame)
        left = self.left[port]
        if left is not None and len(left) > 0:
            frame = frame if len(frame) == 0 else pandas.concat([left, frame], ignore_index=True)
            frame = left if len(frame) == 0 else frame
        start = 0
        while len(frame) - start >= least:
            part = frame.iloc[start : start + self.size].reset_index(drop=True)
            self.call(port, self.make(part))
            start += self.size
        self.left[port] = frame.iloc[start:] if start < len(frame) else None

    def call(self, port, frame):
        first = self.called[port] + 1
        self.called[port] += len(frame)
        self.batch = (first, self.called[port])
        self.taker.take(self.function(frame, port) if self.passes_port else self.function(frame))
        self.batch = None
