"""`--notify URL`: tells a webhook what a person wants to hear of a launch, and is never in its way.

Each message is one small POST from a thread of its own. What does not arrive is a line for the
user, once. The address lets whoever knows it post there: only its host is ever shown.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from orchestrator.errors import exit_code_of
from orchestrator.launching import budget
from orchestrator.launching.driver import Outcome
from orchestrator.launching.monitor import Observer
from orchestrator.store.records import Launch, TrialStatus, count_states

Kind = Literal["done", "failed", "stopped", "incomplete", "stalled", "budget"]

TIMEOUT_S = 5.0
"""So long a webhook has for its answer, and a launch at its end for all that is still under way."""
STALLED_S = 1800.0
"""A launch of which no trial moves for so long has stalled: the end of an epoch, with its
evaluation, and the loading of data take less."""
_ENDS: dict[Kind, str] = {
    "failed": "ended with failed trials",
    "budget": "stopped, its GPU-hours are spent",
}
_SLACK = ("hooks.slack.com", "hooks.slack-gov.com")
_MATTERMOST = re.compile(r"/hooks/[a-z0-9]{26}/?$")


class Notifier(Observer):
    """Follows a launch for `observer`, and tells the webhook at `url` (none where it is empty).

    A context manager: it tells of an error that ends the launch, and waits for its messages.
    """

    def __init__(self, url: str, observer: Observer, stalled_s: float = STALLED_S) -> None:
        self._url, self._observer, self._stalled_s = url, observer, stalled_s
        self._launch: Launch | None = None
        self._statuses: Sequence[TrialStatus] = ()
        self._old_failures: set[tuple[str, int]] = set()
        self._moved = time.monotonic()
        self._told: set[str] = set()
        self._messages: list[_Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._launch and isinstance(error, Exception):
            self._post("failed", "ended with an error", exit_code_of(error))
        self._wait()

    def started(self, launch: Launch, statuses: Sequence[TrialStatus]) -> None:
        """Remember what failed before: it is no news."""
        self._observer.started(launch, statuses)
        self._launch, self._statuses = launch, statuses
        self._old_failures = _failures(statuses)
        self._moved = time.monotonic()

    def update(self, statuses: Sequence[TrialStatus]) -> None:
        """Tell of the first failure while others still run, and of a launch that stands still."""
        self._observer.update(statuses)
        before, self._statuses = self._statuses, statuses
        counts = count_states(statuses)
        if _failures(statuses) - self._old_failures and counts["pending"] + counts["running"]:
            self._tell_once("failed", "has failed trials, and goes on")
        if [_place(status) for status in before] != [_place(status) for status in statuses]:
            self._moved = time.monotonic()
            self._told.discard("stalled")  # it may stall again
        elif time.monotonic() - self._moved >= self._stalled_s:
            self._tell_once("stalled", f"no trial has moved for {self._stalled_s / 60:.0f} minutes")
        self._tell_problems()

    def note(self, text: str) -> None:
        """Nothing for a webhook: notes have paths and addresses in them."""
        self._observer.note(text)

    def ended(self, outcome: Outcome) -> None:
        """Tell how the launch has ended."""
        self._statuses = outcome.statuses
        kind: Kind = "incomplete"
        if outcome.exit_code == 0:
            kind = "done"
        elif outcome.stop_cause == budget.CAUSE:
            kind = "budget"
        elif outcome.stopped:
            kind = "stopped"
        elif outcome.counts["failed"]:
            kind = "failed"
        self._post(kind, _ENDS.get(kind, kind), outcome.exit_code)

    def _tell_once(self, kind: Kind, what: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._post(kind, what)

    def _post(self, kind: Kind, what: str, exit_code: int | None = None) -> None:
        if self._url and self._launch:
            content = message(kind, what, self._launch, self._statuses, exit_code)
            self._messages.append(_Message(self._url, content))

    def _wait(self) -> None:
        """Until all messages have arrived or failed, for a moment at most; Ctrl-C ends it."""
        until = time.monotonic() + TIMEOUT_S
        try:
            for sent in self._messages:
                sent.thread.join(max(0.0, until - time.monotonic()))
        except KeyboardInterrupt:
            return
        for sent in self._messages:
            if sent.thread.is_alive():
                sent.problem = _unanswered()
        self._tell_problems()

    def _tell_problems(self) -> None:
        for problem in dict.fromkeys(sent.problem for sent in self._messages if sent.problem):
            if problem not in self._told:
                self._told.add(problem)
                host = urlsplit(self._url).hostname
                self._observer.note(f"notify: {host} {problem}; the launch is not affected")


def message(
    kind: Kind,
    what: str,
    launch: Launch,
    statuses: Sequence[TrialStatus],
    exit_code: int | None = None,
) -> dict[str, Any]:
    """What a webhook is sent. `exit_code`: None while the launch runs."""
    counts = count_states(statuses)
    summed = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    sweep, by = launch.sweep.name, f" by {launch.user}" if launch.user else ""
    return {
        "event": kind,
        "text": f"{sweep}: {what}: {summed} (launch {launch.number}{by} on {launch.host})",
        "sweep": sweep,
        "launch": launch.number,
        "user": launch.user,
        "host": launch.host,
        "counts": counts,
        "exit_code": exit_code,
    }


def shaped(url: str, content: dict[str, Any]) -> dict[str, Any]:
    """The message as the webhook takes it: Slack's and Mattermost's have a text alone."""
    parts = urlsplit(url)
    if parts.hostname in _SLACK or _MATTERMOST.search(parts.path):
        return {"text": content["text"]}
    return content


class _Message:
    """A message on its way."""

    def __init__(self, url: str, content: dict[str, Any]) -> None:
        self.problem = ""
        self._url, self._content = url, content
        self.thread = threading.Thread(target=self._send, name="notify", daemon=True)
        self.thread.start()

    def _send(self) -> None:
        self.problem = send(self._url, self._content)


def send(url: str, content: dict[str, Any]) -> str:
    """POST the message; returns what went wrong in words that leave out the address, else ""."""
    data = json.dumps(shaped(url, content)).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "bnsweep"}
    try:
        request = urllib.request.Request(url, data, headers, method="POST")
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"answered {error.code}"
    except urllib.error.URLError as error:
        return _unreached(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _unreached(error)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is led elsewhere would arrive as a GET without its message."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _unreached(error: object) -> str:
    if isinstance(error, TimeoutError):
        return _unanswered()
    # Never an error's own words: some quote the address.
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"cannot be reached ({reason})"


def _unanswered() -> str:
    return f"did not answer within {TIMEOUT_S:g} s"


def _failures(statuses: Sequence[TrialStatus]) -> set[tuple[str, int]]:
    return {(s.trial_id, s.attempt) for s in statuses if s.state == "failed"}


def _place(status: TrialStatus) -> tuple[object, ...]:
    """Where a trial stands: another one means that it has moved."""
    return status.state, status.attempt, status.epoch, status.step
