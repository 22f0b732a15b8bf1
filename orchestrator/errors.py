"""The errors a user can meet, as a tree; `cli` catches the root once and prints its lines."""

from __future__ import annotations

INTERNAL_ERROR = 70
"""Exit code of a bug in bnsweep (EX_SOFTWARE); docs/contracts.md, "Exit codes", has the others."""


class BnsweepError(Exception):
    """Root of all errors with a message for the user; `lines` are shown one below the other."""

    exit_code = 2

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class UserError(BnsweepError):
    """The user's mistake: a sweep file, an option, a name. Nothing was started (exit code 2)."""


class SweepError(UserError):
    """A sweep file that cannot be used; a line for each problem: file:line: key: found, allowed."""


class UnreachableError(BnsweepError):
    """Cluster, store or (for sync, audit, ui) tracker cannot be reached (exit code 3)."""

    exit_code = 3


def exit_code_of(error: Exception) -> int:
    """The exit code of a command that ends with this error; see docs/contracts.md."""
    if isinstance(error, BnsweepError):
        return error.exit_code
    if isinstance(error, OSError):
        return 3
    return 2 if isinstance(error, ImportError) else INTERNAL_ERROR
