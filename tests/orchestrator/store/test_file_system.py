"""What the store asks of its file system: each thing that one may lack is found and named."""

import errno
import os
from pathlib import Path

import pytest

from orchestrator.errors import UnreachableError
from orchestrator.store import file_system
from orchestrator.store.store import Store

mkdir, link, replace, utime = os.mkdir, os.link, os.replace, os.utime


def test_a_local_disk_has_all_and_nothing_stays_behind(tmp_path):
    assert file_system.problems(tmp_path, two_processes=True) == []
    assert list(tmp_path.iterdir()) == []


def mkdir_that_shares(path, *more, **named):
    try:
        mkdir(path, *more, **named)
    except FileExistsError:
        if Path(path).name != "claim":
            raise


def link_that_replaces(source, target):
    Path(target).unlink(missing_ok=True)
    link(source, target)


def link_that_is_none(source, target):
    raise PermissionError(errno.EPERM, "Operation not permitted")


def rename_that_copies(source, target):
    Path(target).write_bytes(Path(source).read_bytes())


def rename_that_keeps(source, target):
    raise FileExistsError(errno.EEXIST, "File exists")


def touch_that_does_nothing(path, times=None, **named):
    if times:
        utime(path, times, **named)
    else:
        os.stat(path)  # as of a file that is not there


LACKS = [
    ("mkdir", mkdir_that_shares, "makes a folder that is there already"),
    ("link", link_that_replaces, "gives a name to a second file"),
    ("link", link_that_is_none, "has no hard links (Operation not permitted)"),
    ("replace", rename_that_copies, "does not replace a file by a rename"),
    ("replace", rename_that_keeps, "cannot rename a file over another (File exists)"),
    ("utime", touch_that_does_nothing, "does not move a file's time"),
]


@pytest.mark.parametrize(("call", "lacking", "said"), LACKS)
def test_what_a_file_system_lacks_stops_a_launch_before_any_trial(
    tmp_path, monkeypatch, call, lacking, said
):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    monkeypatch.setattr(os, call, lacking)
    (problem,) = file_system.problems(store.root)
    assert problem.startswith(said)
    with pytest.raises(UnreachableError) as error:
        store.open_for_writing()
    assert str(error.value).startswith(f"store {store.root}: its file system {said}")
    assert str(error.value).endswith("local disk or NFS with --store or BNSWEEP_STORE")
    monkeypatch.undo()
    assert not list(store.root.glob(".check-*"))


def test_two_processes_that_get_one_name_are_found(tmp_path, monkeypatch):
    shared = file_system._ASKS.replace("os.mkdir(", "os.makedirs(exist_ok=True, name=")
    monkeypatch.setattr(file_system, "_ASKS", shared)
    (problem,) = file_system.problems(tmp_path, two_processes=True)
    assert problem == "gave 50 names to two processes 100 times, so trials would be doubled"


def test_a_full_disk_is_said_to_be_full_and_no_worse(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(tmp_path / "runs")
    store.open_for_writing()
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(UnreachableError, match=r"cannot be written \(No space left on device\)"):
        store.open_for_writing()


def test_a_folder_that_cannot_be_written_is_an_error_of_its_own(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UnreachableError, match="cannot be written"):
        Store(tmp_path / "runs").open_for_writing()
