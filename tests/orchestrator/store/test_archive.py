"""A finished trial as one file: the same bytes each time; nothing is believed that is not whole."""

import gzip
import io
import json
import tarfile

import pytest
from made_trials import a_store, claimed, finished, record, trained, write

from orchestrator.store import archive, ownership
from orchestrator.store.archive import ArchiveProblem
from orchestrator.store.failures import Failure
from orchestrator.store.liveness import ResumedFrom
from trainer import results
from trainer.spec import TrialSpec

SPEC = TrialSpec(epochs=3)
OTHER = TrialSpec(epochs=3, seed=1)


@pytest.fixture
def store(tmp_path):
    return a_store(tmp_path)


def packed(store, spec=SPEC):
    return archive.pack(store, spec.trial_id, store.result(spec.trial_id))


def changed(data, **files):
    """The archive with some members replaced or added, in good faith or bad."""
    with tarfile.open(fileobj=io.BytesIO(data)) as old:
        content = {m.name: old.extractfile(m).read() for m in old}
    content |= files
    listed = {n: archive._digest(c) for n, c in content.items() if n not in ("about.json",)}
    listed.pop("contents.json")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as new:
        for name, data in content.items():
            data = json.dumps(listed).encode() if name == "contents.json" else data
            archive._add(new, name, data)
    return buffer.getvalue()


def test_the_same_trial_gives_the_same_bytes_wherever_it_lies(store, tmp_path):
    trained(store, SPEC)
    store.root.rename(tmp_path / "moved")
    elsewhere = type(store)(tmp_path / "moved")
    for path in elsewhere.root.rglob("*"):
        path.touch()
    once = packed(elsewhere)
    (tmp_path / "moved").rename(store.root)
    assert packed(store) == once


def test_an_archive_holds_all_that_a_finished_trial_is_known_by(store):
    trained(store, SPEC)
    content = archive.contents(packed(store), SPEC.trial_id)
    assert set(content) == {
        "spec.json",
        "result.json",
        "journal.jsonl",
        "start.json",
        "artifacts/freeze_proof.json",
        "artifacts/final.pt",
    }


def test_a_damaged_journal_is_packed_as_the_result_has_it(store):
    trained(store, SPEC)
    once = packed(store)
    path = store.attempt_folder(SPEC.trial_id, store.result(SPEC.trial_id).attempt)
    (path / results.JOURNAL).write_bytes(b"damaged")
    assert packed(store) == once


def test_its_first_bytes_tell_which_trial_it_is_and_what_it_computed(store):
    trained(store, SPEC)
    about = archive.about(packed(store)[: archive.HEAD_BYTES])
    assert about.trial_id == SPEC.trial_id
    assert about.numbers == archive.numbers(store.result(SPEC.trial_id))


def test_the_journal_is_the_whole_chain_of_the_attempts(store):
    first = claimed(store, SPEC)
    write(first, record(0), record(1))
    ownership.fail(first, Failure(failure="lost", cause="killed"))
    second = claimed(store, SPEC, ResumedFrom(attempt=1, epoch=1))
    write(second, record(2), record(3))
    finished(store, second, SPEC)
    lines = archive.contents(packed(store), SPEC.trial_id)["journal.jsonl"].splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2, 3]


def test_numbers_tell_what_was_computed_not_where_or_how_fast(store):
    trained(store, SPEC)
    result = store.result(SPEC.trial_id)
    faster = [
        r.model_copy(update={"time_ms": 5, "metrics": {**r.metrics, "images_per_second": 9.0}})
        for r in result.history
    ]
    elsewhere = {"history": faster, "attempt": 2, "seconds": 9.0, "started_ms": 7}
    assert archive.numbers(result.model_copy(update=elsewhere)) == archive.numbers(result)
    other = {"history": [*result.history[:-1], record(3, value=1.0)]}
    assert archive.numbers(result.model_copy(update=other)) != archive.numbers(result)
    weights = {"digests": {**result.digests, "final": "f" * 64}}
    assert archive.numbers(result.model_copy(update=weights)) != archive.numbers(result)


def test_a_trial_whose_result_is_another_ones_is_not_packed(store):
    trained(store, SPEC)
    trained(store, OTHER)
    with pytest.raises(ArchiveProblem, match="not of one trial"):
        archive.pack(store, SPEC.trial_id, store.result(OTHER.trial_id))


def test_an_artifact_that_is_not_the_results_is_neither_packed_nor_taken(store):
    trained(store, SPEC)
    edited = changed(packed(store), **{"artifacts/final.pt": b"others"})
    with pytest.raises(ArchiveProblem, match=r"its final\.pt is not the one that its result names"):
        archive.contents(edited, SPEC.trial_id)
    path = store.attempt_folder(SPEC.trial_id, 1) / results.ARTIFACTS / results.FINAL_TENSORS
    path.write_bytes(b"others")
    with pytest.raises(ArchiveProblem, match=r"its final\.pt is not the one that its result names"):
        packed(store)


def test_an_edited_result_is_damaged(store):
    trained(store, SPEC)
    content = archive.contents(packed(store), SPEC.trial_id)
    edited = content["result.json"].replace(b'"seconds":1.0', b'"seconds":2.0')
    assert edited != content["result.json"]
    with pytest.raises(ArchiveProblem, match="is damaged"):
        archive.contents(changed(packed(store), **{"result.json": edited}), SPEC.trial_id)


DAMAGED = {
    "nothing": lambda _: b"",
    "no tar": lambda _: b"<html>not found</html>" * 100,
    "cut short": lambda data: data[:4096],
    "a bit flipped": lambda data: data.replace(b"tensors", b"tensorz"),
    "compressed": lambda data: gzip.compress(data),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_archive_is_refused(store, damage):
    trained(store, SPEC)
    with pytest.raises(ArchiveProblem, match="damaged"):
        archive.contents(DAMAGED[damage](packed(store)), SPEC.trial_id)


@pytest.mark.parametrize(
    "name", ["../x", "artifacts/../../../x", "/etc/x", "x", "attempts/2/start.json", "artifacts"]
)
def test_a_file_that_leads_out_of_the_trial_is_refused(store, name):
    trained(store, SPEC)
    with pytest.raises(ArchiveProblem, match="no part of a trial"):
        archive.contents(changed(packed(store), **{name: b"x"}), SPEC.trial_id)


def test_a_link_is_no_part_of_a_trial(store):
    trained(store, SPEC)
    buffer = io.BytesIO(packed(store))
    with tarfile.open(fileobj=buffer, mode="a") as grown:
        link = tarfile.TarInfo("artifacts/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        grown.addfile(link)
    assert "artifacts/link" not in archive.contents(buffer.getvalue(), SPEC.trial_id)


def test_an_archive_of_another_trial_than_it_says_is_refused(store):
    trained(store, SPEC)
    trained(store, OTHER)
    with pytest.raises(ArchiveProblem, match="another trial"):
        archive.contents(packed(store), OTHER.trial_id)
    theirs = (store.trial_folder(OTHER.trial_id) / results.RESULT).read_bytes()
    with pytest.raises(ArchiveProblem, match="another trial"):
        archive.contents(changed(packed(store), **{"result.json": theirs}), SPEC.trial_id)


def test_an_archive_of_a_newer_kind_asks_for_a_newer_bnsweep(store):
    trained(store, SPEC)
    about = archive.About(version=2, trial_id=SPEC.trial_id, numbers="")
    newer = changed(packed(store), **{"about.json": about.model_dump_json().encode()})
    with pytest.raises(ArchiveProblem, match="newer bnsweep"):
        archive.contents(newer, SPEC.trial_id)
