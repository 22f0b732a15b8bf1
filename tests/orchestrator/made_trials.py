"""Trial folders as workers leave them, written through the real store without training."""

from __future__ import annotations

import json

from made_results import made

from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import LOG
from orchestrator.store.liveness import ResumedFrom
from orchestrator.store.ownership import Claim
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from trainer import journal, results
from trainer.journal import Record
from trainer.spec import TrialSpec

METRICS = ("train/loss", "train/accuracy", "test/loss", "test/accuracy", "lr", "images_per_second")


def a_store(folder) -> Store:
    store = Store(folder / "runs")
    store.open_for_writing()
    return store


def launched(store: Store, specs, name: str = "depth") -> Launch:
    fields = tuple(spec.identity_fields() for spec in specs)
    launch = Launch(sweep={"name": name, "trials": fields}, number=0, time_ms=1, host="here")
    return store.record_launch(Launch.model_validate(json.loads(launch.model_dump_json())))


def claimed(store: Store, spec: TrialSpec, resumed: ResumedFrom | None = None) -> Claim:
    claim = ownership.claim(store, spec, liveness.this_process("depth", 1))
    assert claim is not None
    if resumed:
        ownership.resumed(claim, resumed)
    return claim


def record(epoch: int, value: float | None = None, time_ms: int | None = None) -> Record:
    return Record(
        seq=epoch,
        time_ms=1_700_000_000_000 + 1000 * epoch if time_ms is None else time_ms,
        step=10 * epoch,
        epoch=epoch,
        attempt=1,
        metrics=dict.fromkeys(METRICS, epoch + 0.5 if value is None else value),
    )


def write(claim: Claim, *records: Record) -> None:
    journal.append(claim.folder / results.JOURNAL, records)


def failed(claim: Claim, kind: str = "code", cause: str = "the cause") -> None:
    (claim.folder / LOG).write_text("a line of the log\n")
    failure = Failure(failure=kind, cause=cause, host="there", attempt=claim.number, time_ms=5)
    ownership.fail(claim, failure)


def finished(store: Store, claim: Claim, spec: TrialSpec) -> None:
    artifacts = claim.folder / results.ARTIFACTS
    artifacts.mkdir()
    (artifacts / results.FREEZE_PROOF).write_text('{"ok": true}')
    (artifacts / results.FINAL_TENSORS).write_bytes(b"tensors")
    history = store.journal(spec.trial_id)
    result = made(spec).model_copy(
        update={
            "history": history,
            "metrics": history[-1].metrics,
            "attempt": claim.number,
            "artifacts": results.digests_under(artifacts),
        }
    )
    results.write(claim.folder / results.RESULT, result)
    assert ownership.publish(store, claim)


def trained(store: Store, spec: TrialSpec) -> None:
    """The whole life of a trial that nothing happened to."""
    claim = claimed(store, spec)
    write(claim, *(record(epoch) for epoch in range(spec.epochs + 1)))
    finished(store, claim, spec)
