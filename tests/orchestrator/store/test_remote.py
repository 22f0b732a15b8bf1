"""What every place for results does alike: a folder, a real ssh server, a real S3 server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_trials import a_store, launched, trained

from orchestrator.errors import UnreachableError, UserError
from orchestrator.store import remote as remotes
from orchestrator.store import transfer
from orchestrator.store.remote import open_remote
from trainer.spec import TrialSpec

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
SPEC = TrialSpec(epochs=3)


def a_free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


# -- the places ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3_server():
    """The address of an S3 server with a bucket `results`."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="us",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket="results")
    yield url
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    pytest.importorskip("obstore")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "us")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://results/{tmp_path.name}/below"


def a_key(path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path.with_suffix(".pub").read_text()


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory):
    """A HOME from which `ssh` reaches a server on this host without a word, and its port."""
    if SSHD is None:
        pytest.skip("no sshd here (Debian: openssh-server)")
    folder = tmp_path_factory.mktemp("sshd")
    port, home = a_free_port(), folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    host_key = a_key(folder / "host_key")
    (folder / "authorized_keys").write_text(a_key(home / ".ssh" / "id_ed25519"))
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host_key'}\nPidFile none\n"
        f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")])
    until = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < until:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield home, port
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture
def ssh(ssh_server, monkeypatch, tmp_path):
    pytest.importorskip("sshfs")
    home, port = ssh_server
    monkeypatch.setenv("HOME", str(home))
    return f"ssh://127.0.0.1:{port}{tmp_path}/on the host"


@pytest.fixture(params=["folder", "ssh", "s3"])
def url(request, tmp_path):
    """An address of each kind, at which there is nothing yet."""
    if request.param == "folder":
        return str(tmp_path / "shared" / "below")
    return request.getfixturevalue(request.param)


# -- what they do alike --------------------------------------------------------------------------


def test_a_place_with_nothing_has_no_names(url):
    assert open_remote(url).names("trials") == set()


def test_what_was_written_is_there_to_read_whole_or_its_beginning(url):
    remote = open_remote(url)
    content = bytes(range(256)) * 1000
    assert remote.write_once("trials/a.tar", content)
    assert remote.write_once("trials/empty.tar", b"")
    assert remote.write_once("sweeps/depth/b.json", b"{}")
    again = open_remote(url)
    assert again.read("trials/a.tar") == content
    assert again.read("trials/a.tar", 1024) == content[:1024]
    assert again.read("sweeps/depth/b.json", 1024) == b"{}"
    assert again.names("trials") == {"a.tar", "empty.tar"}
    assert again.names("sweeps") == {"depth"}


def test_what_is_there_is_never_replaced(url):
    remote = open_remote(url)
    assert remote.write_once("trials/a.tar", b"first")
    assert not remote.write_once("trials/a.tar", b"second")
    assert remote.read("trials/a.tar") == b"first"
    assert remote.names("trials") == {"a.tar"}


def test_of_many_who_write_at_once_one_is_first(url):
    written = [str(number).encode() for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(lambda w: open_remote(url).write_once("trials/a.tar", w), written))
    assert sum(first) == 1
    assert open_remote(url).read("trials/a.tar") == written[first.index(True)]


def test_a_race_that_is_lost_after_the_look_replaces_nothing(ssh, monkeypatch, tmp_path):
    remote = open_remote(ssh)
    assert remote.write_once("trials/a.tar", b"first")
    looks = iter([False, True])
    monkeypatch.setattr(remote._fs, "exists", lambda _: next(looks))
    assert not remote.write_once("trials/a.tar", b"second")
    assert remote.read("trials/a.tar") == b"first"
    assert not list(tmp_path.rglob(".a.tar*"))


def test_a_file_that_is_not_there_is_said_in_a_line(url):
    with pytest.raises(UnreachableError) as error:
        open_remote(url).read("trials/a.tar")
    assert len(error.value.lines) == 1
    assert "\n" not in error.value.lines[0]


def test_more_files_than_a_bucket_lists_at_once_are_all_found(s3):
    remote = open_remote(s3)
    names = {f"{number}.tar" for number in range(1005)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: remote.write_once(f"trials/{name}", b"x"), names))
    assert remote.names("trials") == names


def test_results_travel(url, tmp_path):
    here, there = a_store(tmp_path / "here"), a_store(tmp_path / "there")
    launched(here, [SPEC])
    trained(here, SPEC)
    assert [s.outcome for s in transfer.push(here, open_remote(url), "depth")] == ["moved"]
    assert [s.outcome for s in transfer.pull(there, open_remote(url), "depth")] == ["moved"]
    assert there.state(SPEC).state == "finished"
    assert [s.outcome for s in transfer.push(there, open_remote(url))] == ["there"]


KILLED = """
import os, sys, time
os.fsync = lambda _: time.sleep(600)  # a disk that is at it when the kill comes
from orchestrator.store.remote import open_remote
remote = open_remote(sys.argv[1])
print("there", flush=True)
remote.write_once("trials/a.tar", bytes(1_000_000))
"""


def test_what_a_killed_process_was_writing_is_no_file(tmp_path):
    shared = tmp_path / "shared"
    command = [sys.executable, "-c", KILLED, str(shared)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        killed.stdout.readline()
        while killed.poll() is None and not list(shared.rglob("*a.tar*")):
            time.sleep(0.001)
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert list(shared.rglob("*a.tar*"))
    remote = open_remote(str(shared))
    assert remote.names("trials") == set()
    assert remote.write_once("trials/a.tar", b"whole")
    assert remote.names("trials") == {"a.tar"}


# -- what cannot be reached ----------------------------------------------------------------------


@pytest.mark.parametrize("address", ["ftp://host/x", "s3://", "ssh:///x", "gs://bucket/x"])
def test_an_address_that_is_none_is_one_line(address):
    with pytest.raises(UserError) as error:
        open_remote(address)
    assert str(error.value) == (
        f"{address}: no place for results; allowed: a folder, ssh://HOST/PATH, s3://BUCKET/PREFIX"
    )


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UserError, match="a password") as error:
        open_remote("ssh://me:secret@host/x")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "package"), [("s3://bucket/x", "obstore"), ("ssh://host/x", "sshfs")]
)
def test_a_package_that_is_missing_is_named_with_how_to_install_it(monkeypatch, address, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'bnsweep\[remote\]'") as error:
        open_remote(address)
    assert str(error.value).startswith(f"{address}: needs ")


def test_a_server_that_is_away_is_said_in_a_line(monkeypatch, s3):
    port = a_free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(UnreachableError, match="s3://") as error:
        open_remote(s3).names("trials")
    assert len(str(error.value).splitlines()) == 1
    pytest.importorskip("sshfs")
    with pytest.raises(UnreachableError, match=rf"ssh://127.0.0.1:{port}/x: "):
        open_remote(f"ssh://127.0.0.1:{port}/x")


def test_a_bucket_without_keys_says_which_to_set(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{a_free_port()}")
    with pytest.raises(UnreachableError, match=r"^s3://.*: .*AWS_ACCESS_KEY_ID and AWS_SECRET"):
        open_remote(s3).names("trials")


def test_a_host_whose_key_is_unknown_is_not_trusted(ssh_server, ssh, monkeypatch, tmp_path):
    home, _ = ssh_server
    shutil.copytree(home, tmp_path / "home")
    (tmp_path / "home" / ".ssh" / "known_hosts").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(UnreachableError, match=r"[Hh]ost key"):
        open_remote(ssh)


def test_a_folder_without_hard_links_takes_results_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(remotes.files.os, "link", no_links)
    remote = open_remote(str(tmp_path / "disk"))
    assert remote.write_once("trials/a.tar", b"first")
    assert not remote.write_once("trials/a.tar", b"second")
    assert remote.read("trials/a.tar") == b"first"
