"""A store with one launched sweep in every state, made without training."""

from __future__ import annotations

from made_results import made

from orchestrator.store import liveness, ownership
from orchestrator.store.failures import Failure
from orchestrator.store.folder import LOG
from orchestrator.store.records import Launch
from orchestrator.store.store import Store
from trainer import journal, results
from trainer.spec import TrialSpec

SPECS = tuple(TrialSpec(depth=14, trainable="bn_only", epochs=3, seed=seed) for seed in range(4))
FINISHED, FAILED, RUNNING, PENDING = SPECS


def launch_depth(store: Store) -> Store:
    """The sweep `depth`: a finished trial, a failed, a running and a pending one."""
    trials = tuple(spec.identity_fields() for spec in SPECS)
    store.record_launch(
        Launch(sweep={"name": "depth", "trials": trials}, number=0, time_ms=0, host="here")
    )
    claim = begun(store, FINISHED)
    results.write(claim.folder / results.RESULT, made(FINISHED, 71.25))
    ownership.publish(store, claim)
    claim = begun(store, FAILED)
    (claim.folder / LOG).write_text("epoch 1 done\n")
    ownership.fail(
        claim,
        Failure(
            failure="code",
            cause="ValueError: no such thing",
            traceback='Traceback (most recent call last):\n  File "train.py", line 3\nValueError\n',
            host="node1",
            epoch=1,
        ),
    )
    begun(store, RUNNING)
    return store


def begun(store, spec):
    """The trial claimed by this process, with a journal up to epoch 1."""
    claim = ownership.claim(store, spec, liveness.this_process("depth", 1))
    records = made(spec, 40.0).history[:2]
    journal.append(claim.folder / results.JOURNAL, records)
    return claim
