"""A journal that is written anew, and who reads it meanwhile."""

from concurrent.futures import ThreadPoolExecutor

from trainer import journal
from trainer.journal import Record


def test_whoever_reads_while_a_journal_is_rewritten_sees_all_of_it(tmp_path):
    path = tmp_path / "journal.jsonl"
    records = [
        Record(seq=n, time_ms=n, step=n, epoch=n, attempt=1, metrics={"lr": 0.1}) for n in range(9)
    ]
    journal.rewrite(path, records)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [journal.rewrite(path, records) for _ in range(200)])
        while not writing.done():
            assert journal.read(path) == records
        writing.result()
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal.jsonl"]
