"""Proves that nothing was lost and nothing doubled: trials, folders, journals, and MLflow.

Every finding is a line with its remedy. Nothing is changed, except that a trial whose run has
other content is marked, so that the next `sync` compares all of it.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import UserError
from orchestrator.store import gc, lookup
from orchestrator.store.records import STATES, Launch
from orchestrator.store.store import Store
from orchestrator.tracking import cursor
from orchestrator.tracking.desired import (
    DesiredRun,
    artifacts_of,
    differences,
    trial_fingerprint,
)
from orchestrator.tracking.tracker import Run, Tracker, points_of
from trainer import journal, results
from trainer.spec import TrialSpec

_MEND = "bnsweep audit --mend"
MOST_FINDINGS = 20
"""So many of a check are spelled out."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, or how much was in order."""

    name: str
    ok: bool
    detail: str


def audit(store: Store, sweep_name: str, tracker: Tracker | None) -> list[Check]:
    """Look at everything. Without a tracker only at the store. Raises UserError for a sweep that
    was never launched, UnreachableError where the tracker cannot be reached."""
    launch = lookup.launch_of(store, sweep_name)
    checks = [
        _trials(store, launch),
        _folders(store),
        _journals(store, launch.specs),
        _files(store, launch.specs),
        _checkpoints(store),
    ]
    if any(spec.code_sha256 for spec in launch.specs):
        checks.append(_code(store, launch.specs))
    if tracker is not None:
        checks += _RunsAudit(store, sweep_name, tracker).checks()
    return checks


def _check(name: str, findings: Iterable[str], fine: str) -> Check:
    lines = list(findings)
    if not lines:
        return Check(name, True, fine)
    if len(lines) > MOST_FINDINGS:
        lines[MOST_FINDINGS:] = [f"and {len(lines) - MOST_FINDINGS} more"]
    return Check(name, False, "; ".join(lines))


# -- the store -----------------------------------------------------------------------------------


def _trials(store: Store, launch: Launch) -> Check:
    """Planned = finished + failed + stopped + pending + running, each trial planned once."""
    specs = launch.specs
    states = Counter(store.state(spec).state for spec in specs)
    findings = [
        f"{trial_id}: is planned {count} times (mend the sweep file)"
        for trial_id, count in Counter(spec.trial_id for spec in specs).items()
        if count > 1
    ]
    findings += [f for spec in specs if (f := _result_problem(store, launch.sweep.name, spec))]
    sums = " + ".join(f"{states[state]} {state}" for state in STATES)
    return _check("trials", findings, f"{len(specs)} planned = {sums}")


def _result_problem(store: Store, sweep: str, spec: TrialSpec) -> str:
    path = store.trial_folder(spec.trial_id) / results.RESULT
    if not os.path.lexists(path):
        return ""
    result = store.result(spec.trial_id)
    if result is None:
        what = "is damaged, was edited or is another trial's"
        return f"{spec.trial_id}: its {results.RESULT} {what} (bnsweep resume {sweep})"
    if result.spec != spec:
        return f"{spec.trial_id}: its result is another trial's (bnsweep discard {spec.trial_id})"
    return ""


def _folders(store: Store) -> Check:
    """Every trial folder is of a spec that a launch names, or was pulled, and says so itself."""
    trial_ids = sorted(store.trial_ids())  # before the launches, which name trials that begin
    known = {spec.trial_id for name in store.sweeps() for spec in store.launched(name)}
    pulled = {trial_id for trial_id in trial_ids if store.pulled(trial_id)}
    damaged = [path for name in store.sweeps() for path in store.unreadable_launches(name)]
    findings = [
        f"{path}: cannot be read; what it names is kept (launch its sweep file, then remove this)"
        for path in damaged
    ]
    for trial_id in trial_ids:
        spec = store.spec(trial_id)
        if trial_id not in known and not damaged and trial_id not in pulled:
            findings.append(f"{trial_id}: no launch names this trial (bnsweep gc)")
        elif spec is None:
            findings.append(f"{trial_id}: its {results.SPEC} is damaged ({_MEND})")
        elif spec.trial_id != trial_id:
            findings.append(f"{trial_id}: its spec is {spec.trial_id}'s ({_MEND})")
    brought = f", {len(pulled)} of them pulled" if pulled else ""
    fine = f"{len(trial_ids)} trial folders, each of a known spec{brought}"
    return _check("folders", findings, fine)


def _journals(store: Store, specs: Sequence[TrialSpec]) -> Check:
    """A journal has each epoch once, in order; a finished trial's is its result's history."""
    findings = []
    for spec in specs:
        result = store.result(spec.trial_id)  # before the journal, which may still grow
        records = store.journal(spec.trial_id)
        if [record.epoch for record in records] != list(range(len(records))):
            remedy = _MEND if result else f"bnsweep discard {spec.trial_id}"
            findings.append(f"{spec.trial_id}: its journal lacks epochs ({remedy})")
        elif result is not None and not journal.same(result.history, records):
            findings.append(f"{spec.trial_id}: its journal is not its result's history ({_MEND})")
    return _check("journals", findings, "every epoch once, each result's history the journal's")


def _files(store: Store, specs: Sequence[TrialSpec]) -> Check:
    """The artifacts of each finished trial are there as its result names them."""
    findings, count = [], 0
    for spec in specs:
        result = store.result(spec.trial_id)
        if result is None or not result.artifacts:  # a result of before it named them
            continue
        folder = store.attempt_folder(spec.trial_id, result.attempt) / results.ARTIFACTS
        there = results.digests_under(folder)
        count += len(result.artifacts)
        if bad := sorted(n for n, sha256 in result.artifacts.items() if there.get(n) != sha256):
            findings.append(
                f"{spec.trial_id}: missing or changed in {results.ARTIFACTS}: {', '.join(bad)} "
                f"(bnsweep discard {spec.trial_id}, and resume trains it again)"
            )
    return _check("files", findings, f"{count} artifacts, each as its result names it")


def _checkpoints(store: Store) -> Check:
    """No checkpoint that nothing will continue from."""
    findings = [
        f"{item.path.relative_to(store.root)}: {item.reason} (bnsweep gc)"
        for item in gc.find(store)
        if item.path.name in (results.CHECKPOINT, results.CHECKPOINT_PREVIOUS)
    ]
    return _check("checkpoints", findings, "none that nothing continues from")


def _code(store: Store, specs: Sequence[TrialSpec]) -> Check:
    """The user's own code that the trials name is there, with the content that they name."""
    digests = {spec.code_sha256 for spec in specs if spec.code_sha256}
    findings = []
    for sha256 in sorted(digests):
        try:
            store.check_code(sha256)
        except UserError as error:
            findings.append(f"{error} (remove it, then launch the sweep file with that code)")
    return _check("code", findings, f"{len(digests)} kept, each as the trials name it")


# -- the tracker ---------------------------------------------------------------------------------


class _RunsAudit:
    """Compares the tracker's runs of a sweep with the trials' folders."""

    def __init__(self, store: Store, sweep: str, tracker: Tracker) -> None:
        self._store, self._sweep, self._tracker = store, sweep, tracker
        self._sync = f"bnsweep sync {sweep}"
        kinds = ("runs", "content", "metrics", "artifacts")
        self._findings: dict[str, list[str]] = {kind: [] for kind in kinds}
        self._points = self._files = self._runs = 0

    def checks(self) -> list[Check]:
        """One check for the runs, and one for each thing that is in them."""
        runs: dict[str, list[Run]] = {}
        for run in self._tracker.runs(self._tracker.open(self._sweep), self._store.identity):
            runs.setdefault(run.trial_id, []).append(run)
        for spec in self._store.launched(self._sweep):
            self._look_at(spec, runs.pop(spec.trial_id, []))
        for trial_id in runs:
            self._findings["runs"].append(
                f"{trial_id or 'a run without a trial'}: a run of no trial ({self._sync})"
            )
        return [
            _check("runs", self._findings["runs"], f"{self._runs} runs, one for each trial"),
            _check("params, tags, status", self._findings["content"], "all as the folders say"),
            _check("metrics", self._findings["metrics"], f"{self._points} points, each once"),
            _check("artifacts", self._findings["artifacts"], f"{self._files} files"),
        ]

    def _look_at(self, spec: TrialSpec, runs: list[Run]) -> None:
        fingerprint = trial_fingerprint(self._store, spec.trial_id)
        desired = DesiredRun.read(self._store, spec)
        if len(runs) != 1:
            if runs or not (desired.is_empty or desired.status.state == "running"):
                self._report("runs", spec, f"has {len(runs)} runs instead of one")
            return
        self._runs += 1
        self._compare_points(desired, runs[0])
        # a trial that goes on while we look may be ahead of its run: that is no finding
        goes_on = desired.status.state == "running"
        if goes_on or trial_fingerprint(self._store, spec.trial_id) != fingerprint:
            return
        different = differences(runs[0], self._sweep, self._store.identity, desired)
        different = [what for what in different if not what.startswith("metric ")]
        if different:
            self._report("content", spec, f"its run differs in {', '.join(different)}")
        self._compare_files(desired, runs[0])

    def _compare_points(self, desired: DesiredRun, run: Run) -> None:
        stored = Counter(point.identity for point in self._tracker.points(run.run_id))
        # read after the run: a trial that goes on has all of it by now
        records = self._store.journal(desired.spec.trial_id)
        expected = Counter(point.identity for point in points_of(records))
        self._points += stored.total()
        if surplus := (stored - expected).total():
            self._report(
                "metrics", desired.spec, f"its run has {surplus} points that the journal has not"
            )
        elif desired.status.state != "running" and (lacking := (expected - stored).total()):
            self._report("metrics", desired.spec, f"its run lacks {lacking} points")

    def _compare_files(self, desired: DesiredRun, run: Run) -> None:
        stored = set(self._tracker.artifacts(run.run_id))
        files = artifacts_of(self._store, desired.status)
        expected = {f"{folder}/{path.name}".lstrip("/") for path, folder in files}
        self._files += len(stored)
        if lacking := sorted(expected - stored):
            self._report("artifacts", desired.spec, f"its run lacks {', '.join(lacking)}")

    def _report(self, check: str, spec: TrialSpec, what: str) -> None:
        self._findings[check].append(f"{spec.trial_id}: {what} ({self._sync})")
        with contextlib.suppress(OSError):  # a store that may only be read: sync compares less
            path = cursor.recheck_path(self._store, self._sweep, spec.trial_id)
            path.parent.mkdir(exist_ok=True)
            path.touch()
