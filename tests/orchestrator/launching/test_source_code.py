"""Which commit a checkout is at, as a launch records it; with the real git."""

import shutil
import subprocess

import pytest

from orchestrator.launching import source_code

GIT = shutil.which("git")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    if GIT is None:
        pytest.skip("needs git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("first")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first")
    return tmp_path


def git(folder, *arguments):
    command = [GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_of_a_checkout_says_whether_its_files_are_others(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    git(checkout, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "v1", "-m", "v1")
    assert source_code.commit(checkout) == head
    (checkout / "code.py").write_text("second")
    assert source_code.commit(checkout) == f"{head}-dirty"


def test_what_is_no_checkout_has_no_commit_not_that_of_a_repository_around_it(checkout):
    installed = checkout / "site-packages"
    installed.mkdir()
    assert source_code.commit(installed) == ""


def test_without_git_nothing_is_known(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert source_code.commit(checkout) == ""
