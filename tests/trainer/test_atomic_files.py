"""Files that are whole or absent, whatever dies while they are written."""

import errno
import os
from pathlib import Path

import pytest

from trainer import files


def test_a_write_that_fails_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "content.json"
    files.write_json(path, {"old": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"new": 2})
    assert path.read_bytes() == files.as_json({"old": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_not_written_once_more(tmp_path):
    path = tmp_path / "content"
    assert files.write_once(path, b"first")
    assert not files.write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_was_made_though_the_server_denies_it_counts_as_ours(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    assert files.link_once(source, target)
    assert files.link_once(source, target)
    source.unlink()
    source.write_bytes(b"another")
    assert not files.link_once(source, target)
    assert target.read_bytes() == b"content"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_what_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write_atomically(tmp_path / "content", b"")
        files.write_once(tmp_path / "once", b"")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_what_is_no_file_is_said_so_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(files.NotAFile, match="is no regular file"):
            files.read(path)
