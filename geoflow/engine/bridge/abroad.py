"""A stage whose calls are forwarded to a child process in another Python. All that it declares stays the same."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from geoflow.backends import weights
from geoflow.engine.bridge.child_process import ChildProcess
from geoflow.engine.bridge.foreign_worker import DONE, END, FAILED, PIECE, READ, REFUSED
from geoflow.engine.bridge.remote_errors import ChildDied, Described, InterpreterBroken, describe_error, revived
from geoflow.environments.interpreter import Interpreter, prepare
from geoflow.environments.pythons import FoundPython
from geoflow.errors import EnvironmentBroken
from geoflow.segments import Segment, Span, VideoInfo
from geoflow.stage import Fields, Read, SegmentRecord, Stage

_AT_ONCE = ("state",)  # calls that continue another one: a new child could not answer them


def abroad(stage: type[Stage], backend: str, interpreter: Interpreter, env: str) -> type[Stage]:
    """Return a class with the declarations of `stage` that forwards its calls to a child in `interpreter`.

    `env` is the environment's name, for messages.
    """
    facts = {"__module__": stage.__module__, "__qualname__": stage.__qualname__}
    return type(stage.__name__, (_Forwards, stage), {**facts, "_backend": backend, "_where": (interpreter, env)})


class _Forwards(Stage):
    """Comes before the stage's own class, whose methods only the child calls."""

    _backend: ClassVar[str]
    _where: ClassVar[tuple[Interpreter, str]]

    listener: Callable[[str], None] | None = None  # gets each line that the child prints, besides the log

    def __init__(self, params: Any = None) -> None:
        super().__init__(params)
        self._child: ChildProcess | None = None
        self._cap: float | None = None
        self._python: FoundPython | None = None

    def setup(self) -> None:
        self._end()
        self._start()

    def warm(self) -> None:
        """Start the child, and import and warm the stage there, without its model."""
        self._end()
        self._start_child()
        self._call("warm", self._backend, dataclasses.asdict(self.params), self.threads)

    def survey(self, span: Span, read: Read) -> Fields:
        return self._ask("survey", span, read=read)

    def condense(self, segment: Segment, fields: Fields) -> Fields:
        return self._ask("condense", segment, fields)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        return self._ask("process", segment, fields)

    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        return self._ask("process_object", video, number, read=read)

    def state(self) -> dict[str, Any]:
        return self._ask("state")

    def restore(self, state: dict[str, Any]) -> None:
        self._ask("restore", state)

    def finish(self, video: VideoInfo, records: list[SegmentRecord], **more: Any) -> dict[str, Any]:
        return self._ask("finish", video, records, **more)

    def teardown(self) -> None:
        """Let the child's stage let go, and end the child."""
        if self._child is not None:
            with contextlib.suppress(Exception):  # it is ended anyway
                self._ask("teardown")
        self._end()

    def processes(self) -> tuple[int, ...]:
        return () if self._child is None else (self._child.pid,)

    def about(self) -> str:
        """Return what the child runs in; "" if there is no child."""
        if self._child is None:
            return ""
        about = self._child.about
        return f"Python {about['python']}, numpy {about['numpy']}, {about['executable']}"

    def meter(self, name: str, *arguments: Any) -> Any:
        """Call a method of the child's GPU meter; None if there is no child."""
        if name == "cap":
            self._cap = arguments[0]
        return None if self._child is None else self._ask("meter", name, *arguments)

    def _start_child(self) -> None:
        interpreter, env = self._where
        try:
            self._python = self._python or prepare(interpreter, env)
            package = type(self).__module__.partition(".")[0]
            self._child = ChildProcess(self._python, self.slot or self._backend, package, self.listener)
        except EnvironmentBroken as error:
            raise InterpreterBroken(str(error)) from error
        except ChildDied as error:
            if error.killed:
                raise
            why = f"environment {env!r}: GeoFlow does not start in {interpreter}: {error}"
            raise InterpreterBroken(why) from error

    def _start(self) -> None:
        self._start_child()
        try:
            located = {
                (self._backend, piece, own): weights.locate(self._backend, piece, own)
                for piece, own in self.weights().items()
            }
            self._call("setup", self._backend, dataclasses.asdict(self.params), self.threads, located)
            if self._cap is not None:
                self._call("meter", "cap", self._cap)
        except EnvironmentBroken as error:  # this node lacks what the stage needs; another may have it
            self._end()
            raise InterpreterBroken(f"environment {self._where[1]!r}: {error}") from error
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _ask(self, name: str, *arguments: Any, read: Read | None = None, **more: Any) -> Any:
        """Return the child's answer to a call. A child that the system had to kill earlier is started again first."""
        if self._child is None and name not in _AT_ONCE:
            self._start()
        return self._call(name, *arguments, read=read, **more)

    def _call(self, name: str, *arguments: Any, read: Read | None = None, **more: Any) -> Any:
        child = self._child
        assert child is not None, f"{name} before setup, or after the child's end"
        try:
            child.channel.send((name, arguments, more))
            del arguments
            kind, value = child.channel.receive()
            frames = _Frames(read)
            while kind == READ:
                frames.send_next(child, value)
                kind, value = child.channel.receive()
        except (EOFError, ConnectionError):
            self._child = None
            raise child.died() from None
        except Exception:  # in this process: it could not be sent, or not be read
            raise
        except BaseException:  # the answer that is still to come would be taken for that to the next call
            self._end()
            raise
        if kind == FAILED:
            raise frames.own_error(value) or revived(value)
        assert kind == DONE, kind
        return value


class _Frames:
    """The frames that a call reads, as the child asks for them. An error of reading stays this process's own."""

    def __init__(self, read: Read | None) -> None:
        self._read = read
        self._open: dict[int, Iterator[Fields]] = {}
        self._errors: list[Exception] = []

    def send_next(self, child: ChildProcess, number: int) -> None:
        assert self._read is not None, "a stage reads frames only in a survey, or of an object"
        try:
            if number not in self._open:
                self._open[number] = self._read()
            child.channel.send((PIECE, next(self._open[number])))
        except StopIteration:
            child.channel.send((END, None))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            self._errors.append(error)
            described = dataclasses.replace(describe_error(error), origin=len(self._errors) - 1)
            child.channel.send((REFUSED, described))

    def own_error(self, described: Described) -> Exception | None:
        return None if described.origin is None else self._errors[described.origin]
