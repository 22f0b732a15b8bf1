"""What ends a launch early: Ctrl-C, SIGTERM, a terminal that closes, and workers that do not obey
a request to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class Interrupts:
    """The first signal calls `ask_to_stop`; a second one raises KeyboardInterrupt at once.

    A context manager that holds the handlers of SIGINT and SIGTERM, and of SIGHUP where `nohup` has
    not told the process to ignore it: a terminal that closes may send several, which count as one.
    Python runs signal handlers in the main thread only, so a launch from another thread is stopped
    by `bnsweep stop` alone.
    """

    def __init__(self, ask_to_stop: Callable[[], None]) -> None:
        self._ask_to_stop = ask_to_stop
        self._before: dict[int, signal._HANDLER] = {}
        self.signalled = False
        """Whether a signal came: the next one ends the launch at once."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def end_at_once(self) -> None:
        """Raise KeyboardInterrupt in the main thread, from any thread.

        A real signal, since the main thread may be blocked in Ray's C++ code.
        """
        if self._before:
            self.signalled = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signalled and number == signal.SIGHUP:
            return
        if self.signalled:
            raise KeyboardInterrupt
        self.signalled = True
        self._ask_to_stop()
