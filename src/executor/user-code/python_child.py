# The process that runs Python user code, called row by row in batches.
#
# Frames come on what was standard input and leave on descriptor 3; standard output and error carry what user code
# prints, and its standard input is empty. The first error ends the process. Works from Python 3.8 on, with the standard
# library only.
import builtins
import datetime
import decimal
import json
import linecache
import math
import os
import signal
import sys
import time
import traceback

# Equal rows give equal results on every host: local time is UTC's. Not by os.environ, which stays empty.
os.putenv("TZ", "UTC")
time.tzset()

FILE = "user_code.py"
ROWS_PER_REPLY = 4096


def limit_resources(memory_bytes):
    try:
        import resource
    except ImportError:  # not on this platform: the layers outside still hold
        return
    wanted = [
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, memory_bytes),
        (resource.RLIMIT_NOFILE, 64),
    ]
    for what, value in wanted:
        _, hard = resource.getrlimit(what)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):
            pass  # the host forbids it: the layers outside still hold


class TooSlow(BaseException):
    """Not an Exception, so that `except Exception` in user code does not swallow it."""


class Refusal(Exception):
    """The function gave something that is no row."""


class Pipe:
    def __init__(self):
        # User code gets an empty standard input; the frames move away from descriptor 0.
        self.requests = os.fdopen(os.dup(0), "rb")
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        self.replies = os.fdopen(3, "wb")

    def read(self):
        head = self.requests.read(4)
        if len(head) < 4:
            return None
        size = int.from_bytes(head, "little")
        body = self.requests.read(size)
        return json.loads(body) if len(body) == size else None

    def write(self, message):
        body = json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
        sys.stdout.flush()
        sys.stderr.flush()
        self.replies.write(len(body).to_bytes(4, "little") + body)
        self.replies.flush()


def decode_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


DECODERS = {
    "long": lambda v: int(v) if isinstance(v, str) else v,
    "double": lambda v: float(v.replace("Infinity", "inf")) if isinstance(v, str) else float(v),
    "binary": bytes.fromhex,
    "any": decode_json,
}


def kind_of(value):
    if isinstance(value, (list, tuple)):
        return "a list" if isinstance(value, list) else "a tuple"
    if isinstance(value, dict):
        return "a dict"
    return "a value of type " + type(value).__name__


def encode_any(value):
    try:
        return {"$json": json.dumps(value, ensure_ascii=False, allow_nan=False)}
    except (TypeError, ValueError) as error:
        return {"$other": "something JSON cannot hold (%s)" % error}


def encode(value, kind):
    if value is None:
        return None
    if kind == "any":
        return encode_any(value)
    # bool before int: True is an int in Python.
    if isinstance(value, (str, bool)):
        return value if type(value) in (str, bool) else (str(value) if isinstance(value, str) else bool(value))
    if isinstance(value, int):
        return int(value) if abs(value) <= 9007199254740991 else {"$long": str(int(value))}
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return {"$number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": bytes(value).hex()}
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value) if kind == "double" and value.is_finite() else {"$other": "the decimal %s" % value}
    # Numbers of other libraries (numpy) know how to become plain ones.
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return encode(item(), kind)
    return {"$other": kind_of(value)}


class Runner:
    def __init__(self, settings):
        self.name = settings["entryPoint"]
        self.retain = settings["retain"]
        self.names = [c["name"] for c in settings["input"]]
        self.decoders = [DECODERS.get(c["type"]) for c in settings["input"]]
        self.output = [(c["name"], c["type"]) for c in settings["output"]]
        self.row = 0
        self.function = None

    def load(self, code):
        # The traceback shows source lines of a file that exists nowhere.
        linecache.cache[FILE] = (len(code), None, code.splitlines(True), FILE)
        namespace = {"__name__": "user_code", "__builtins__": builtins}
        exec(compile(code, FILE, "exec"), namespace)
        function = namespace.get(self.name)
        if not callable(function):
            raise NameError("the code defines no function %s" % self.name)
        self.function = function

    def rows_of(self, result):
        if result is None:
            return ()
        if isinstance(result, dict):
            return (result,)
        if isinstance(result, (str, bytes, bytearray)) or not hasattr(result, "__iter__"):
            raise Refusal(
                "%s returned %s; return a dict, a list or generator of dicts, or None." % (self.name, kind_of(result))
            )
        return result

    def outputs(self, batch):
        """The encoded rows of a batch, each with the number of the input row it comes from."""
        columns = []
        for values, decoder in zip(batch["columns"], self.decoders):
            columns.append(values if decoder is None else [None if v is None else decoder(v) for v in values])
        for row in range(batch["rows"]):
            self.row = row
            given = {name: column[row] for name, column in zip(self.names, columns)}
            base = dict(given) if self.retain else None
            for value in self.rows_of(self.function(given)):
                if value is None:
                    continue
                if not isinstance(value, dict):
                    raise Refusal("%s returned a list with %s in it; each element is a dict." % (self.name, kind_of(value)))
                merged = {**base, **value} if self.retain else value
                encoded = []
                for name, kind in self.output:
                    if name not in merged:
                        raise Refusal(
                            '%s returned a row without the column "%s"; return it, or None for no value.'
                            % (self.name, name)
                        )
                    encoded.append(encode(merged[name], kind))
                yield row, encoded

    def run(self, batch, write):
        origins, rows = [], []

        def reply(done):
            columns = [list(column) for column in zip(*rows)] if rows else [[] for _ in self.output]
            write({"rows": len(rows), "origins": origins, "columns": columns, "done": done})

        for origin, encoded in self.outputs(batch):
            origins.append(origin)
            rows.append(encoded)
            if len(rows) == ROWS_PER_REPLY:
                reply(False)
                origins, rows = [], []
        reply(True)


def describe(error, row):
    """What went wrong, with the user's part of the traceback."""
    if isinstance(error, Refusal):
        return {"kind": "output", "message": str(error), "trace": "", "row": row}
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != FILE:
        frames = frames.tb_next
    shown = traceback.TracebackException(type(error), error, frames if frames is not None else None)
    text = "".join(shown.format())
    message = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    kind = "timeout" if isinstance(error, TooSlow) else "memory" if isinstance(error, MemoryError) else "exception"
    return {"kind": kind, "message": message, "trace": text, "row": row}


def main():
    pipe = Pipe()
    settings = pipe.read()
    if settings is None:
        return
    limit_resources(settings["memoryBytes"])
    sys.path[:] = [path for path in sys.path if path]

    def too_slow(_signal, _frame):
        raise TooSlow()

    signal.signal(signal.SIGALRM, too_slow)
    runner = Runner(settings)
    seconds = settings["batchMs"] / 1000
    row = None
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        runner.load(settings["code"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.write({"ready": True})
        while True:
            batch = pipe.read()
            if batch is None:
                break
            row = 0
            signal.setitimer(signal.ITIMER_REAL, seconds)
            runner.run(batch, pipe.write)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as error:  # SystemExit and TooSlow too: whatever ends user code is told
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.write({"error": describe(error, None if row is None else runner.row)})


main()
