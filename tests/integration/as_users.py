"""Runs command lines as real users of this machine, one after the other; started as root.

The Python of whoever runs the tests may lie where no other user can read it. So root warms up here
all that the command lines load, and a fork of its process becomes the user.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import sys
from pathlib import Path


def main(folder: Path, steps: list[dict]) -> None:
    """Print how each step ended, a line of JSON for each."""
    sweep, store = folder / "tiny.yaml", folder / f"warm-{os.getpid()}"
    for words in (["launch", sweep, "--inline", "-y"], ["status"], ["stop", "tiny"], ["audit"]):
        run_as("root", 0o022, [*words, "--store", store], folder, become=False)
    for step in steps:
        said = run_as(step["user"], step["umask"], step["arguments"], folder)
        print(json.dumps(said), flush=True)


def run_as(user: str, umask: int, arguments: list, folder: Path, *, become: bool = True) -> dict:
    """Exit code and output of a command line that the user types."""
    home = folder / f"home-{user}"
    paths = [home / "out", home / "err"]
    if not home.exists():
        home.mkdir(mode=0o700)
        os.chown(home, pwd.getpwnam(user).pw_uid, -1)
    if not become:
        return _run(arguments, home, paths)
    child = os.fork()
    if child == 0:
        code = 70
        try:
            _become(user, umask)
            code = _run(arguments, home, paths)["code"]
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"code": code, **_said(paths)}


def _run(arguments: list, home: Path, paths: list[Path]) -> dict:
    from orchestrator.cli.app import run

    os.environ["HOME"] = str(home)
    os.chdir(home)
    kept = [os.dup(1), os.dup(2)]
    for number, path in enumerate(paths, 1):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, number)
        os.close(handle)
    code = run([str(word) for word in arguments])
    for number, handle in enumerate(kept, 1):
        (sys.stdout if number == 1 else sys.stderr).flush()
        os.dup2(handle, number)
    return {"code": code, **_said(paths)}


def _said(paths: list[Path]) -> dict:
    return dict(zip(("out", "err"), (path.read_text("utf-8") for path in paths), strict=True))


def _become(user: str, umask: int) -> None:
    entry = pwd.getpwnam(user)
    groups = [group.gr_gid for group in grp.getgrall() if user in group.gr_mem]
    os.setgroups(groups)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.umask(umask)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
