"""The process that runs Python user code, given rows in batches.

Frames come on what was standard input and leave on descriptor 3; standard output and error carry what user code prints,
and its standard input is empty. The first error ends the process. Works from Python 3.8 on, with the standard library
only; batches and tables take pandas.
"""

import builtins
import inspect
import json
import linecache
import os
import select
import signal
import sys
import time
import traceback

# Nothing of this directory is found otherwise: Python runs isolated.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from postern_columns import iso_text, naive_time, read_columns, values_of
from postern_output import Outputs, Refusal, ToOutput, is_frame
from postern_tuples import TupleCalls

# Equal rows give equal results on every host: local time is UTC's. Not by os.environ, which stays empty.
os.putenv("TZ", "UTC")
time.tzset()

FILE = "user_code.py"
SETTINGS, ROWS, END_OF_PORT, FINISH = range(4)
READY, _, DONE, ERROR = range(4)
HEAD = 16
IDLE_SECONDS = 0.3
ROOM_FOR_PANDAS = 512 << 20
# People are shown less; whoever reads replies takes no more than a megabyte.
LONGEST_ERROR = 64 << 10


class TooSlow(BaseException):
    """Not an Exception, so that `except Exception` in user code does not swallow it."""


class MissingPackages(Exception):
    """This Python lacks what the call needs."""


class Watch:
    """Ends a call that takes too long. Counts ticks, of which a stopped process gets none: a pause is not the code's."""

    def __init__(self, limit_ms):
        self.tick = min(0.1, limit_ms / 10_000)
        self.limit = limit_ms / 1000
        self.left = None
        signal.signal(signal.SIGALRM, self.ring)

    def start(self, times=1):
        """Allows `times` the limit from now on."""
        self.left = round(self.limit * times / self.tick)
        signal.setitimer(signal.ITIMER_REAL, self.tick, self.tick)

    def stop(self):
        signal.setitimer(signal.ITIMER_REAL, 0)

    def ring(self, _signal, _frame):
        self.left -= 1
        if self.left <= 0:
            # Again and again, should the code catch it.
            raise TooSlow()


class Pipe:
    def __init__(self):
        # User code gets an empty standard input; the frames move away from descriptor 0.
        self.requests = os.fdopen(os.dup(0), "rb", 1 << 20)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        self.replies = os.fdopen(3, "wb", 0)

    def read(self):
        """The next body; None once the other side has closed."""
        head = self.requests.read(4)
        size = int.from_bytes(head, "little")
        body = self.requests.read(size) if len(head) == 4 else b""
        return body if len(head) == 4 and len(body) == size else None

    def write(self, body):
        sys.stdout.flush()
        sys.stderr.flush()
        view = memoryview(len(body).to_bytes(4, "little") + body)
        while view:
            view = view[self.replies.write(view) or 0 :]

    def say(self, kind, content=None):
        text = b"" if content is None else json.dumps(content, ensure_ascii=True).encode("ascii")
        self.write(bytes((kind,)) + bytes(HEAD - 1) + text)


class Function:
    """User code: what it defines, and how it is called."""

    def __init__(self, settings, write, watch):
        self.name = settings["entryPoint"]
        self.call = settings["call"]
        self.inputs = settings["inputs"]
        self.watch = watch
        self.long = 10 if self.call in ("table", "source") else 1
        self.tuples = self.tables = None
        self.outputs = Outputs(settings["outputs"], self.name, self.progress_of(write))
        self.settings = settings

    def progress_of(self, write):
        def progressed(body):
            self.watch.start(self.long)
            write(body)

        return progressed

    def load(self):
        if self.call in ("batch", "table"):
            try:
                import postern_tables
            except ImportError as error:
                raise MissingPackages(str(error)) from None
        code = self.settings["code"]
        # The traceback shows source lines of a file that exists nowhere.
        linecache.cache[FILE] = (len(code), None, code.splitlines(True), FILE)
        namespace = {"__name__": "user_code", "__builtins__": builtins, "to_output": ToOutput}
        exec(compile(code, FILE, "exec"), namespace)
        found = namespace.get(self.name)
        if not callable(found):
            raise NameError("the code defines no function %s" % self.name)
        if inspect.isclass(found):
            self.load_class(found)
        else:
            self.load_function(found, namespace)
        self.open()

    def load_class(self, found):
        import pytexera

        operator = found()
        self.outputs.nan_is_null = True
        self.open, self.close = operator.open, operator.close
        self.on_finish = getattr(operator, "on_finish", None)
        if self.call == "tuple":
            self.use_tuples(operator.process_tuple, True, pytexera.Tuple)
        elif self.call == "source":
            self.produce = operator.produce
        else:
            table, batch = pytexera.tables()
            if self.call == "table":
                self.use_tables(operator.process_table, True, table, None)
            else:
                self.use_tables(operator.process_batch, True, batch, operator.BATCH_SIZE)

    def load_function(self, found, namespace):
        def defined(name):
            """A function of the user's own; one that was imported under this name is something else."""
            other = namespace.get(name)
            return other if getattr(other, "__module__", None) == "user_code" else None

        self.open = defined("open") or (lambda: None)
        self.close = defined("close") or (lambda: None)
        self.on_finish = defined("on_finish")
        passes_port = takes_two(found)
        if self.call == "tuple":
            self.use_tuples(found, passes_port, dict)
        elif self.call == "source":
            self.produce = found
        elif self.call == "table":
            self.use_tables(found, passes_port, lambda frame: frame, None)
        else:
            self.use_tables(found, passes_port, lambda frame: frame, namespace.get("BATCH_SIZE", 10_000))

    def use_tuples(self, function, passes_port, make_row):
        self.as_time = iso_text if make_row is dict else naive_time
        self.tuples = TupleCalls(
            self.outputs, self.inputs, self.settings["retain"], function, passes_port, make_row
        )

    def use_tables(self, function, passes_port, make, size):
        from postern_tables import TableCalls

        if size is not None and not (type(size) is int and size > 0):
            raise ValueError("BATCH_SIZE must be a whole number from 1 on, and is %r" % (size,))
        self.tables = TableCalls(self.outputs, self.inputs, function, passes_port, make, size)

    def rows(self, body):
        port, rows, columns = read_columns(body)
        if self.tables is not None:
            self.tables.run(port, columns, rows)
            return
        kinds = [column["type"] for column in self.inputs[port]]
        self.tuples.row = 0
        lists = [values_of(column, kind, rows, self.as_time) for column, kind in zip(columns, kinds)]
        self.tuples.run(port, lists, rows)
        self.tuples.row = None

    def end_of_port(self, port):
        if self.call == "source":
            self.give(self.produce())
        elif self.tables is not None:
            self.tables.end(port)
        if self.call != "source" and self.on_finish is not None:
            self.give(self.on_finish(port))

    def give(self, value):
        """Sends rows that come from no input row."""
        if self.tables is not None:
            self.tables.taker.take(value)
        else:
            for item in self.outputs.items(value):
                number, inner = (item.port, item.value) if isinstance(item, ToOutput) else (0, item)
                port = self.outputs.port(number)
                for one in self.outputs.items(inner):
                    self.give_one(port, one)
        self.outputs.flush(free=True)

    def give_one(self, port, item):
        if item is None:
            return
        if is_frame(item):
            from postern_tables import FrameOutputs

            FrameOutputs(self.outputs).take_frame(port, item)
        elif isinstance(item, list):
            for row in item:
                self.give_one(port, row)
        else:
            port.add_free(self.outputs.row(item))
            self.outputs.flush_free_if_full(port)

    def where(self):
        """Where in the input an error happened, as far as that is known."""
        if self.tuples is not None:
            return {"row": self.tuples.row}
        if self.tables is not None and self.tables.batch is not None:
            return {"from": self.tables.batch[0], "to": self.tables.batch[1]}
        return {}


def takes_two(function):
    """Whether a function takes the number of the port beside its rows."""
    try:
        kinds = [one.kind for one in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return False
    positional = [kind for kind in kinds if kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 or inspect.Parameter.VAR_POSITIONAL in kinds


def leave_out_own_frames(shown):
    """Of an error and of those it came from."""
    while shown is not None:
        own = [frame for frame in shown.stack if frame.filename.startswith(HERE) or frame.filename == "postern_loop"]
        shown.stack = traceback.StackSummary.from_list([frame for frame in shown.stack if frame not in own])
        shown = shown.__cause__ or shown.__context__


def describe(error):
    """What went wrong, with the user's part of the traceback."""
    if isinstance(error, Refusal):
        return {"kind": "output", "message": str(error)[:LONGEST_ERROR], "trace": ""}
    if isinstance(error, MissingPackages):
        return {"kind": "packages", "message": str(error)[:LONGEST_ERROR], "trace": ""}
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != FILE:
        frames = frames.tb_next
    shown = traceback.TracebackException(type(error), error, frames)
    leave_out_own_frames(shown)
    text = "".join(shown.format()).rstrip()
    message = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    kind = "timeout" if isinstance(error, TooSlow) else "memory" if isinstance(error, MemoryError) else "exception"
    return {"kind": kind, "message": message[:LONGEST_ERROR], "trace": text[:LONGEST_ERROR]}


def serve(pipe, function, watch):
    watch.start()
    function.load()
    watch.stop()
    pipe.say(READY)
    while True:
        body = pipe.read()
        if body is None:
            return
        watch.start(function.long)
        if body[0] == ROWS:
            function.rows(body)
        elif body[0] == END_OF_PORT:
            function.end_of_port(body[1])
        elif body[0] == FINISH:
            function.close()
        watch.stop()
        pipe.say(DONE)


def load_pandas_while_idle(requests):
    """A process that waits for a function may have what takes longest to load; it is small beside what functions may use."""
    try:
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if (allowed == resource.RLIM_INFINITY or allowed >= ROOM_FOR_PANDAS) and not select.select([requests], [], [], IDLE_SECONDS)[0]:
            import postern_tables
    except Exception:
        pass  # without it, or not on this platform: told to whoever needs it


def main():
    pipe = Pipe()
    load_pandas_while_idle(pipe.requests)
    body = pipe.read()
    if body is None:
        return
    settings = json.loads(body[HEAD:])
    watch = Watch(settings["batchMs"])
    function = Function(settings, pipe.write, watch)
    try:
        serve(pipe, function, watch)
    except BaseException as error:  # SystemExit and TooSlow too: whatever ends user code is told
        watch.stop()
        pipe.say(ERROR, {**describe(error), **function.where()})


main()
