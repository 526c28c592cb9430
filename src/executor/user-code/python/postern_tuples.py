"""Calls of user code once per row. The loop is written for the operator's columns, and then compiled: what is done for
each row is nothing but making the row, calling, and appending what came back to lists."""

from postern_output import Refusal, ToOutput, is_frame


class TupleCalls:
    def __init__(self, outputs, inputs, retain, function, passes_port, make_row):
        """`inputs` are schemas by port; `make_row` is dict, or what to make of a dict."""
        self.outputs = outputs
        self.row = None
        self.loops = [
            self.compiled(port, schema, retain, function, passes_port, make_row) for port, schema in enumerate(inputs)
        ]

    def compiled(self, port, schema, retain, function, passes_port, make_row):
        text = loop_text(port, schema, self.outputs.ports, retain, passes_port, make_row)
        namespace = {}
        exec(compile(text, "postern_loop", "exec"), namespace)
        return namespace["make"](self, self.outputs, function, make_row, ToOutput)

    def run(self, port, columns, rows):
        """Calls the function with every row of a batch; `columns` are lists."""
        self.loops[port](columns, rows)
        self.outputs.flush()

    def more(self, value, row, values, adds):
        """Takes whatever is neither None nor a plain row."""
        outputs = self.outputs
        for item in outputs.items(value):
            if type(item) is ToOutput:
                number = outputs.port(item.port).number
                for inner in outputs.items(item.value):
                    self.add_to(number, adds[number], inner, row, values)
            else:
                self.add_to(0, adds[0], item, row, values)

    def add_to(self, number, add, item, row, values):
        outputs = self.outputs
        origins = outputs.ports[number].origins
        if item is None:
            return
        if isinstance(item, ToOutput):
            raise Refusal("%s gave to_output inside to_output; name one port." % outputs.name)
        if is_frame(item):
            names = list(item.columns)
            for record in item.itertuples(index=False, name=None):
                add(dict(zip(names, record)), row, *values)
                if len(origins) >= outputs.limit:
                    outputs.flush()
            return
        add(outputs.row(item), row, *values)
        if len(origins) >= outputs.limit:
            outputs.flush()


def loop_text(number, schema, ports, retain, passes_port, make_row):
    """The source of `make`, which gives the loop over the rows of input port `number`."""
    values = ", ".join("v%d" % c for c in range(len(schema)))
    places = {column["name"]: c for c, column in enumerate(schema)}
    lines = ["def make(calls, outputs, function, make_row, ToOutput):"]
    for port in ports:
        lines += add_text(port, schema, places, retain, values)
    one = "(%s,)" % ", ".join("add%d" % port.number for port in ports)
    row = "{%s}" % ", ".join("%r: v%d" % (column["name"], c) for c, column in enumerate(schema))
    if make_row is not dict:
        row = "make_row(%s)" % row
    rows = "for %s in zip(*columns):" % (values + "," if values else "_")
    if not schema:
        rows = "for _ in range(rows):"
    lines += [
        "  adds = %s" % one,
        "  more, first = calls.more, outputs.ports[0].origins",
        "  def loop(columns, rows):",
        *["    start%d(columns)" % port.number for port in ports],
        "    row = 0",
        "    try:",
        "      " + rows,
        "        result = function(%s%s)" % (row, ", %d" % number if passes_port else ""),
        "        if type(result) is dict%s:" % ("" if make_row is dict else " or type(result) is make_row"),
        "          add0(result, row%s)" % (", " + values if values else ""),
        "          if len(first) >= outputs.limit:",
        "            outputs.flush()",
        *["            start%d(columns)" % port.number for port in ports],
        "        elif result is not None:",
        "          more(result, row, (%s), adds)" % (values + "," if values else ""),
        "        row += 1",
        "    except BaseException:",
        "      calls.row = row",
        "      raise",
        "  return loop",
    ]
    return "\n".join(lines)


def add_text(port, schema, places, retain, values):
    """The source of `addN`, which takes a row for output port N, and of `startN`, which begins a batch.

    A retained column that no row overwrites is not gathered at all: `kept` names the input's column, and a_ is None. With
    the first row that differs, the rows before it are filled in.
    """
    n = port.number
    retained = {}
    for c, (name, kind) in enumerate(zip(port.names, port.kinds)):
        if retain and name in places:
            retained[c] = places[name]
    can_keep = {
        c: v for c, v in retained.items() if schema[v]["type"] == port.kinds[c] and port.kinds[c] not in ("any", "binary")
    }
    own = [c for c in range(len(port.names)) if c not in retained]
    appends = ["a%d_%d" % (n, c) for c in range(len(port.names))]
    lines = ["  port%d = outputs.ports[%d]" % (n, n), "  lists%d, origins%d = port%d.columns, port%d.origins" % (n, n, n, n)]
    lines += ["  origin%d, kept%d, given%d = origins%d.append, port%d.kept, None" % (n, n, n, n, n)]
    for c, append in enumerate(appends):
        lines.append("  %s = %s" % (append, "None" if c in can_keep else "lists%d[%d].append" % (n, c)))
    shared = ", ".join(["given%d" % n] + [appends[c] for c in can_keep])
    lines += ["  def start%d(columns):" % n, "    nonlocal %s" % shared, "    given%d = columns" % n]
    for c, v in can_keep.items():
        lines += ["    %s = None" % appends[c], "    kept%d[%d] = %d" % (n, c, v)]
    lines += ["  def add%d(result, row%s):" % (n, ", " + values if values else ""), "    nonlocal %s" % shared]
    if own:
        lines += ["    try:", *["      %s(result[%r])" % (appends[c], port.names[c]) for c in own]]
        lines += ["    except KeyError:", "      port%d.refuse({**result%s})" % (n, retained_text(port, retained))]
    if retained:
        plain = [c for c in retained if c not in can_keep]
        lines += ["    if len(result) != %d:" % len(own), "      get = result.get"]
        for c, v in can_keep.items():
            append = appends[c]
            lines += [
                "      value = get(%r, v%d)" % (port.names[c], v),
                "      if %s is not None:" % append,
                "        %s(value)" % append,
                "      elif value is not v%d:" % v,
                "        kept%d[%d] = None" % (n, c),
                "        lists%d[%d].extend(map(given%d[%d].__getitem__, origins%d))" % (n, c, n, v, n),
                "        %s = lists%d[%d].append" % (append, n, c),
                "        %s(value)" % append,
            ]
        lines += ["      %s(get(%r, v%d))" % (appends[c], port.names[c], retained[c]) for c in plain]
        lines += ["    else:"]
        for c, v in can_keep.items():
            lines += ["      if %s is not None:" % appends[c], "        %s(v%d)" % (appends[c], v)]
        lines += ["      %s(v%d)" % (appends[c], retained[c]) for c in plain]
        if not can_keep and not plain:
            lines += ["      pass"]
    return lines + ["    origin%d(row)" % n]


def retained_text(port, retained):
    return "".join(", %r: None" % port.names[c] for c in retained)
