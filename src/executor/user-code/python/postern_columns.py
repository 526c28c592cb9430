"""Columns between frames and Python lists. The form of frames is told in column-frames.ts.

What a buffer of the column's type cannot hold goes as JSON cells; whoever reads them finds the sentence for it.
"""

import datetime
import decimal
import json
import math
from array import array
from itertools import accumulate

INT32, INT64, DOUBLE, BOOLEAN, JOINED, BYTES, TEXT, _, _, CELLS, KEPT = range(11)
HEAD_BYTES = 16
SEPARATOR = "\x1f"
CONSECUTIVE, LISTED, NO_ORIGINS = range(3)

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_UTC = EPOCH.replace(tzinfo=UTC)
ENDLESS = 2**63 - 1
DAY = 86_400_000_000
CYCLE_DAYS = 146_097  # 400 years


def padded(size):
    return (size + 7) & ~7


# --- from frames ------------------------------------------------------------------------------------------------------


class Column:
    """One column of a batch: `data` in its encoding, `nulls` with 1 where there is no value, or None."""

    __slots__ = ("encoding", "nulls", "data")

    def __init__(self, encoding, nulls, data):
        self.encoding = encoding
        self.nulls = nulls
        self.data = data


def read_columns(body):
    """The port, the number of rows, and the columns of a frame of rows."""
    view = memoryview(body)
    count = int.from_bytes(view[2:4], "little")
    rows = int.from_bytes(view[4:8], "little")
    at = HEAD_BYTES
    columns = []
    for _ in range(count):
        encoding, has_nulls, size = view[at], view[at + 1], int.from_bytes(view[at + 4 : at + 8], "little")
        at += HEAD_BYTES
        nulls = None
        if has_nulls:
            nulls = view[at : at + rows]
            at += padded(rows)
        columns.append(Column(encoding, nulls, view[at : at + size]))
        at += padded(size)
    return view[1], rows, columns


def iso_text(micros):
    """`2026-01-31T12:00:00.123+00:00`: no fraction, three digits or six."""
    if micros >= ENDLESS:
        return "infinity"
    if micros <= -ENDLESS:
        return "-infinity"
    try:
        time = EPOCH_UTC + datetime.timedelta(microseconds=micros)
        year = None
    except OverflowError:  # Python's years have four digits
        days, rest = divmod(micros, DAY)
        cycles, day = divmod(days, CYCLE_DAYS)
        time = EPOCH_UTC + datetime.timedelta(days=day, microseconds=rest)
        year = time.year + 400 * cycles
    part = micros % 1_000_000
    text = time.isoformat(timespec="seconds" if part == 0 else "milliseconds" if part % 1000 == 0 else "microseconds")
    if year is None:
        return text
    return "%s%06d%s" % ("-" if year < 0 else "+", abs(year), text[4:])


def naive_time(micros):
    """A datetime without zone, in UTC; what lies beyond Python's years is the first or last of them."""
    try:
        return EPOCH + datetime.timedelta(microseconds=micros)
    except OverflowError:
        return datetime.datetime.max if micros > 0 else datetime.datetime.min


def json_value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def texts_of(column, rows):
    if column.encoding == JOINED:
        return str(column.data, "utf-8").split(SEPARATOR)
    return [str(part, "utf-8") for part in bytes_of(column, rows)]


def bytes_of(column, rows):
    ends = list(accumulate(column.data[: 4 * rows].cast("I")))
    data = column.data[4 * rows :]
    return [bytes(data[start:end]) for start, end in zip([0, *ends], ends)]


def values_of(column, kind, rows, as_time=iso_text):
    """The column as a list, None where there is no value."""
    if kind == "integer":
        values = column.data.cast("i").tolist()
    elif kind == "long":
        values = column.data.cast("q").tolist()
    elif kind == "double":
        values = column.data.cast("d").tolist()
    elif kind == "boolean":
        values = list(map((False, True).__getitem__, column.data))
    elif kind == "timestamp":
        values = list(map(as_time, column.data.cast("q")))
    elif kind == "binary":
        values = bytes_of(column, rows)
    else:
        values = texts_of(column, rows)
    if column.nulls is not None:
        values = [None if null else value for value, null in zip(values, column.nulls)]
    if kind == "any":
        values = [None if value is None else json_value(value) for value in values]
    return values


# --- to frames --------------------------------------------------------------------------------------------------------

FILLERS = {
    "integer": 0,
    "long": 0,
    "double": 0.0,
    "boolean": False,
    "timestamp": "",
    "binary": b"",
    "string": "",
    "any": "",
}
NOTHING = type(None)


def encode_values(values, kind, nan_is_null=False):
    """Encoding, nulls or None, and data of a list of values."""
    types = set(map(type, values))
    if nan_is_null and float in types:
        values = [None if value != value else value for value in values]
        types = set(map(type, values))
    nulls = None
    full = values
    if NOTHING in types:
        types.discard(NOTHING)
        nulls = bytes([value is None for value in values])
        filler = FILLERS[kind]
        if kind == "timestamp" and types == {datetime.datetime}:
            filler = EPOCH
        full = [filler if value is None else value for value in values]
    try:
        found = encode_exactly(full, kind, types, nulls)
    except (OverflowError, ValueError, TypeError):
        found = None
    if found is None and any(hasattr(one, "item") and hasattr(one, "shape") for one in types):
        # Numbers of other libraries (numpy) know how to become plain ones.
        plain = [value.item() if getattr(value, "shape", None) == () else value for value in values]
        if not any(hasattr(value, "item") and getattr(value, "shape", None) == () for value in plain):
            return encode_values(plain, kind, nan_is_null)
    if found is None:
        cells = json.dumps([cell_of(value, kind) for value in values], ensure_ascii=True, allow_nan=False)
        return CELLS, None, cells.encode("ascii")
    encoding, data = found
    return encoding, nulls, data


def text_data(texts):
    return TEXT, array("I", map(len, texts)).tobytes() + "".join(texts).encode("utf-8")


def encode_exactly(values, kind, types, nulls):
    """Encoding and data; None when a value has another type. Raises when one is out of bounds."""
    if kind == "string":
        return text_data(values) if types <= {str} else None
    if kind == "integer":
        return (INT32, array("i", values).tobytes()) if types <= {int} else None
    if kind == "long":
        return (INT64, array("q", values).tobytes()) if types <= {int} else None
    if kind == "double":
        return (DOUBLE, array("d", values).tobytes()) if types <= {float, int} else None
    if kind == "boolean":
        return (BOOLEAN, bytes(values)) if types <= {bool} else None
    if kind == "timestamp":
        if types <= {str}:
            return text_data(values)
        return (INT64, array("q", map(micros_of, values)).tobytes()) if types <= {datetime.datetime} else None
    if kind == "binary":
        if not types <= {bytes, bytearray}:
            return None
        return BYTES, array("I", map(len, values)).tobytes() + b"".join(values)
    if nulls is None:
        return text_data([dump(value) for value in values])
    return text_data(["" if null else dump(value) for value, null in zip(values, nulls)])


def dump(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def micros_of(time):
    gap = time - (EPOCH if time.tzinfo is None else EPOCH_UTC)
    return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds


def kind_of(value):
    if isinstance(value, (list, tuple)):
        return "a list" if isinstance(value, list) else "a tuple"
    if isinstance(value, dict):
        return "a dict"
    return "a value of type " + type(value).__name__


def cell_of(value, kind):
    """A value as JSON holds it; what JSON lacks in an object with one key."""
    if value is None:
        return None
    if kind == "any":
        try:
            return {"$json": dump(value)}
        except (TypeError, ValueError) as error:
            return {"$other": "something JSON cannot hold (%s)" % error}
    # bool before int: True is an int in Python.
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value) if abs(value) <= 9007199254740991 else {"$long": str(int(value))}
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return {"$number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": bytes(value).hex()}
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value) if kind == "double" and value.is_finite() else {"$other": "the decimal %s" % value}
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return cell_of(item(), kind)
    return {"$other": kind_of(value)}


def reply_body(port, rows, origins, columns):
    """A frame's body. `origins` is a list, or None; `columns` are encodings, nulls and data, or the number of an input."""
    form, first, listed = NO_ORIGINS, 0, b""
    if origins is not None:
        first = origins[0] if origins else 0
        if not origins or origins[-1] - first == rows - 1 and origins == list(range(first, first + rows)):
            form = CONSECUTIVE
        else:
            form, listed = LISTED, array("I", origins).tobytes()
    parts = [
        bytes((1, port)),
        len(columns).to_bytes(2, "little"),
        rows.to_bytes(4, "little"),
        form.to_bytes(4, "little"),
        first.to_bytes(4, "little"),
    ]
    add(parts, listed)
    for column in columns:
        if isinstance(column, int):
            parts.append(column_head(KEPT, False, 0, column))
            continue
        encoding, nulls, data = column
        parts.append(column_head(encoding, nulls is not None, len(data), 0))
        if nulls is not None:
            add(parts, nulls)
        add(parts, data)
    return b"".join(parts)


def column_head(encoding, has_nulls, size, number):
    head = bytes((encoding, has_nulls, 0, 0))
    return head + size.to_bytes(4, "little") + number.to_bytes(4, "little") + bytes(4)


def add(parts, data):
    parts.append(data)
    if len(data) % 8:
        parts.append(bytes(-len(data) % 8))
