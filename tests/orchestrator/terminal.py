"""A command line in a real terminal of 80 columns: what it shows, and keys typed into it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

CTRL_C = "\x03"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`bnsweep ARGUMENTS` with a controlling terminal, so that Ctrl-C becomes a signal.

    Standard output goes elsewhere (a pipe) where `out` is false: what is on the screen is then
    what the command says beside its output.
    """

    def __init__(self, *arguments: object, typed: str = "", out: bool = True) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *map(str, arguments)],
            stdin=slave,
            stdout=slave if out else subprocess.DEVNULL,
            stderr=slave,
            env={**environment, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=_as_a_shell_does,
        )
        os.close(slave)
        self._shown = ""
        self.type(typed)

    def type(self, keys: str) -> None:
        """Send keys as a keyboard would."""
        os.write(self._master, keys.encode())

    def until(self, text: str, timeout_s: float = 120) -> str:
        """Wait until the text was shown; all that was shown so far, without control sequences."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} never came:\n{self.shown}"
            assert self._read(1.0), f"ended without {text!r}:\n{self.shown}"
        return self.shown

    def close(self) -> int:
        """Close the terminal's window, which sends SIGHUP; the exit code."""
        os.close(self._master)
        return self._process.wait(timeout=120)

    def end(self, timeout_s: float = 120) -> tuple[str, int]:
        """All that was shown, and the exit code."""
        deadline = time.monotonic() + timeout_s
        while self._read(1.0):
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise AssertionError(f"does not end:\n{self.shown}")
        code = self._process.wait(timeout=60)
        os.close(self._master)
        return self.shown, code

    @property
    def shown(self) -> str:
        """What was shown until now, without control sequences."""
        return _CONTROL.sub("", self._shown)

    def _read(self, wait_s: float) -> bool:
        """Take in what comes within the time; False once the other side is closed."""
        if not select.select([self._master], [], [], wait_s)[0]:
            return True
        try:
            more = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self._shown += more.decode(errors="replace")
        return bool(more)


def _as_a_shell_does() -> None:
    """In the new process: the terminal controls it, and Ctrl-C is not ignored, as it is in what
    a script starts in the background (such as a test run there)."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
