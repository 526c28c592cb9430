"""What user code gives, gathered into replies: by output port, checked for its columns."""

from postern_columns import encode_values, kind_of, reply_body

MOST_ROWS = 16_384
# Replies grow until they have about so many bytes.
REPLY_BYTES = 1 << 20


class Refusal(Exception):
    """The function gave something that is no row."""


class ToOutput:
    """A row, or rows, for another output port than the first: `yield to_output(1, row)`."""

    __slots__ = ("port", "value")

    def __init__(self, port, value):
        self.port = port
        self.value = value


class Port:
    """One output port: rows gathered as columns, and where each came from."""

    def __init__(self, number, schema, name):
        self.number = number
        self.name = name
        self.names = [column["name"] for column in schema]
        self.kinds = [column["type"] for column in schema]
        self.columns = [[] for _ in schema]
        self.origins = []
        # Numbers of input columns that are in the output as they were given; None for what is in `columns`.
        self.kept = [None for _ in schema]
        # Rows of no origin (of a table, a source, an end) are never in one reply with others.
        self.free = 0

    def refuse(self, row):
        """A row lacks a column."""
        for name in self.names:
            if name not in row:
                raise Refusal(
                    '%s returned a row without the column "%s"; return it, or None for no value.' % (self.name, name)
                )
        raise Refusal("%s returned a row that cannot be read." % self.name)

    def add_free(self, row):
        """Takes a row that comes from no input row."""
        try:
            for values, name in zip(self.columns, self.names):
                values.append(row[name])
        except KeyError:
            self.refuse(row)
        self.free += 1


class Outputs:
    """All output ports. `write` sends a reply's body."""

    def __init__(self, schemas, name, write):
        self.ports = [Port(number, schema, name) for number, schema in enumerate(schemas)]
        self.name = name
        self.write = write
        # In pytexera, as in pandas, NaN stands for no value.
        self.nan_is_null = False
        # Rows of one reply: few at first, so that the first of them are out soon.
        self.limit = 256

    def port(self, number):
        if isinstance(number, int) and 0 <= number < len(self.ports):
            return self.ports[number]
        raise Refusal(
            "%s gave a row to output %r; the operator has %s." % (self.name, number, port_range(len(self.ports)))
        )

    def flush(self, free=False):
        """Sends what was gathered: rows that come from input rows, or `free` ones."""
        for port in self.ports:
            rows = port.free if free else len(port.origins)
            if rows == 0:
                continue
            columns = [
                encode_values(values, kind, self.nan_is_null) if kept is None or free else kept
                for values, kind, kept in zip(port.columns, port.kinds, port.kept)
            ]
            self.send(reply_body(port.number, rows, None if free else port.origins, columns), rows)
            for values in port.columns:
                values.clear()
            port.origins.clear()
            port.free = 0

    def send(self, body, rows):
        self.limit = max(16, min(MOST_ROWS, self.limit * 4, REPLY_BYTES * rows // len(body)))
        self.write(body)

    def flush_free_if_full(self, port):
        if port.free >= self.limit:
            self.flush(free=True)

    def items(self, value):
        """What one call gave, one thing at a time: rows, frames, or either for a named port."""
        if value is None:
            return ()
        if isinstance(value, (dict, ToOutput)) or is_frame(value) or is_series(value):
            return (value,)
        if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__iter__"):
            raise Refusal(
                "%s returned %s; return a dict, a list or generator of dicts, or None." % (self.name, kind_of(value))
            )
        return value

    def row(self, item):
        """One row as a dict."""
        if isinstance(item, dict):
            return item
        if is_series(item):
            return item.to_dict()
        raise Refusal("%s returned a list with %s in it; each element is a dict." % (self.name, kind_of(item)))


def is_frame(value):
    return not isinstance(value, dict) and hasattr(value, "itertuples") and hasattr(value, "columns")


def is_series(value):
    return not isinstance(value, dict) and hasattr(value, "to_dict") and hasattr(value, "dtype")


def port_range(count):
    return "output 0 only" if count == 1 else "outputs 0 to %d" % (count - 1)
