"""Stopping a run. Ctrl-C once lets running work end; a second Ctrl-C stops at once. SIGTERM, or a terminal that closes
(SIGHUP), lets running work end within a deadline."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import termios
import threading
import time
from collections.abc import Iterator

_GRACE_S = 20.0  # after SIGTERM; clouds that reclaim a machine give it 30 s or more


class Stop:
    """A request to stop a run, with the time until which running work may end."""

    def __init__(self) -> None:
        self.asked = False
        self._until = math.inf

    def ask(self, grace_s: float = math.inf) -> None:
        """Ask the run to stop within `grace_s`. Raises KeyboardInterrupt if this was asked before: then stop at
        once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked, self._until = True, time.monotonic() + grace_s

    @property
    def overdue(self) -> bool:
        return time.monotonic() >= self._until


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield a Stop that SIGINT, SIGTERM and SIGHUP trigger. Only the main thread gets signals; elsewhere none trigger
    it."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: stop.ask()),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: stop.ask(_GRACE_S)),
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored: started with `nohup`
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: _hung_up(stop))
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _hung_up(stop: Stop) -> None:
    if not stop.asked:  # a closing terminal may send it twice: by itself and through the shell
        stop.ask(_GRACE_S)
    for descriptor in (1, 2):  # writing to a closed terminal is an error, which would prevent an orderly end
        with contextlib.suppress(OSError):
            if _is_gone(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _is_gone(descriptor: int) -> bool:
    try:
        termios.tcgetattr(descriptor)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return False
