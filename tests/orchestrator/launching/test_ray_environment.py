"""RAY_ADDRESS is judged in seconds, and a Ray of our own gets a folder that nobody else enters."""

import socket
import stat
import tempfile
from pathlib import Path

import pytest

from orchestrator.launching import ray_environment


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("http://head:8265", "give it as --cluster http://head:8265"),
        ("head", "is neither HOST:PORT nor ray://HOST:PORT"),
        ("head:x", "is neither HOST:PORT nor ray://HOST:PORT"),
        ("head:99999", "is neither HOST:PORT nor ray://HOST:PORT"),
        ("tcp://head:6379", "is neither HOST:PORT nor ray://HOST:PORT"),
        ("no.such.host.invalid:6379", "nothing answers at no.such.host.invalid:6379"),
    ],
)
def test_an_address_that_cannot_work_is_named_with_its_variable(monkeypatch, address, what):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ray_environment.problem().startswith("RAY_ADDRESS: ")
    assert what in ray_environment.problem()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_something_listens_may_work_and_a_stale_one_not(
    monkeypatch, listener, scheme
):
    monkeypatch.setenv("RAY_ADDRESS", scheme + listener)
    assert ray_environment.problem() == ""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stale = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", scheme + stale)
    assert f"nothing answers at {scheme}{stale} (Connection refused)" in ray_environment.problem()


@pytest.mark.parametrize("address", ["", "auto", "local"])
def test_what_ray_itself_decides_at_once_is_left_to_it(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert ray_environment.problem() == ""


def test_the_folder_is_private_and_short_whatever_tmpdir_says_and_gone_afterwards(
    monkeypatch, tmp_path
):
    monkeypatch.delenv("BNSWEEP_RAY_TEMP", raising=False)
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with ray_environment.own_folder() as folder:
        private = Path(folder).parent
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert len(folder) <= 40
        Path(folder).mkdir(mode=0o777)
    assert not private.exists()


def test_a_short_tmpdir_is_used_and_a_folder_that_the_user_names_stays(monkeypatch, tmp_path):
    monkeypatch.delenv("BNSWEEP_RAY_TEMP", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        with ray_environment.own_folder() as folder:
            assert folder.startswith(short)
    monkeypatch.setenv("BNSWEEP_RAY_TEMP", str(tmp_path))
    with ray_environment.own_folder() as folder:
        assert folder == str(tmp_path)
    assert tmp_path.exists()
