"""A command's two streams, files and exit code through the one log that a Ray job has.

On the cluster, `python -m orchestrator.cluster.relay DIGEST [PATH …] -- ARGUMENTS` runs bnsweep and
writes a line for each line of its output, marked with the stream it belongs to; then the files, and
the exit code. At home, `Receiver` takes the marked lines apart again; whatever else Ray wrote into
the log is kept apart. The log stays readable for a person who opens it in Ray's dashboard.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from orchestrator.launching import source_code

_WHOLE, _OPEN = "| ", "> "  # a line that ended, and one that did not (a prompt, a progress bar)
_OTHER_CODE = "the cluster's image has another bnsweep than this one"
_REMEDY = "rebuild the image, or leave --image-has-code out: then the code travels with the job"
_LOCK = threading.Lock()


class Receiver:
    """Takes a job's log apart. `feed` it the whole log so far, as often as you like."""

    def __init__(self, write: Callable[[str, str], None]) -> None:
        self._write = write
        self._seen = 0
        self.exit_code: int | None = None
        self.files: dict[str, bytes] = {}
        self.heard = False
        """Whether the command has printed anything."""
        self.foreign: list[str] = []
        """Lines that no relay wrote: what Ray or Python said when the command never began."""

    def feed(self, log: str) -> None:
        """Pass on what is new; a last line that has no end yet waits for the next time."""
        end = log.rfind("\n") + 1
        for line in log[self._seen : end].split("\n")[:-1]:
            self._take(line)
        self._seen = max(self._seen, end)

    def _take(self, line: str) -> None:
        kind, mark, text = line[:3], line[3:5], line[5:]
        if kind in ("out", "err") and mark in (_WHOLE, _OPEN):
            self.heard = True
            self._write(kind, text + ("\n" if mark == _WHOLE else ""))
        elif kind == "end" and mark == _WHOLE:
            self.exit_code = int(text)
        elif kind == "fil" and mark == _WHOLE:
            name, _, content = text.rpartition(" ")
            self.files[name] = base64.b64decode(content)
        else:
            self.foreign.append(line)


def main(arguments: list[str]) -> int:
    """Run bnsweep with the arguments behind `--`, and relay it; returns its exit code."""
    at = arguments.index("--")
    own, command = arguments[:at], arguments[at + 1 :]
    here = source_code.code_digest()
    if own[0] != here:
        _send("err", f"{_OTHER_CODE} (digest {here}, yours {own[0]}); {_REMEDY}\n")
        _send("end", "2\n")
        return 2
    code = _run([sys.executable, "-m", "orchestrator", *command])
    for path in _files(own[1:]):
        content = base64.b64encode(path.read_bytes()).decode()
        _send("fil", f"{path.as_posix()} {content}\n")
    _send("end", f"{code}\n")
    return code


def _files(names: Sequence[str]) -> Iterator[Path]:
    """The files that are there; of a folder, all in it."""
    for path in map(Path, names):
        yield from sorted(p for p in (path, *path.rglob("*")) if p.is_file())


def _run(command: list[str]) -> int:
    # What the command starts in its turn shall find the code that travelled, not the image's.
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    # Ray tells every process of a job to stop: the command obeys, and this one relays its end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert process.stdout is not None
    assert process.stderr is not None
    threads = [
        threading.Thread(target=_pump, args=(stream, kind))
        for stream, kind in ((process.stdout, "out"), (process.stderr, "err"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return process.wait()


def _pump(stream: IO[bytes], kind: str) -> None:
    for line in stream:
        _send(kind, line.decode(errors="replace"))


def _send(kind: str, text: str) -> None:
    mark = _WHOLE if text.endswith("\n") else _OPEN
    with _LOCK:
        sys.stdout.write(f"{kind}{mark}{text.removesuffix(chr(10))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
