"""The user's own code in a store: one copy for each content, readable, never overwritten."""

import pytest

from orchestrator.errors import UserError
from orchestrator.store.store import Store
from trainer import own_code


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.open_for_writing()
    return store


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("first")
    return path


def test_a_module_is_kept_once_under_its_digest(store, module):
    sha256 = own_code.digest(module)
    assert store.code(sha256) is None
    store.keep_code(sha256, module)
    assert store.code(sha256) == store.root / "code" / f"{sha256}.py"
    assert store.code(sha256).read_text() == "first"
    written_ns = store.code(sha256).stat().st_mtime_ns
    store.keep_code(sha256, module)
    assert store.code(sha256).stat().st_mtime_ns == written_ns
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".code")] == []


def test_a_package_is_kept_with_its_folders(store, tmp_path):
    package = tmp_path / "mine"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "layers.py").write_text("layers")
    (package / "__pycache__").mkdir()
    sha256 = own_code.digest(package)
    store.keep_code(sha256, package)
    assert own_code.digest(store.code(sha256)) == sha256
    assert (store.code(sha256) / "deep" / "layers.py").read_text() == "layers"
    assert not (store.code(sha256) / "__pycache__").exists()


def test_code_that_was_changed_since_it_was_read_is_not_kept(store, module):
    sha256 = own_code.digest(module)
    module.write_text("second")
    with pytest.raises(UserError, match="is not the code with sha256"):
        store.keep_code(sha256, module)
    assert store.code(sha256) is None


def test_a_copy_that_was_changed_is_refused_and_left_as_it_is(store, module):
    sha256 = own_code.digest(module)
    store.keep_code(sha256, module)
    store.code(sha256).write_text("edited")
    with pytest.raises(UserError, match="it was changed"):
        store.keep_code(sha256, module)
    assert store.code(sha256).read_text() == "edited"
