from __future__ import annotations

import functools
import hashlib
import pickle
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from small_trials import small
from torchvision.datasets import CIFAR10, CIFAR100

from trainer.data import in_memory, layouts, splits
from trainer.errors import DataError
from trainer.spec import TrialSpec

CIFAR = TrialSpec(epochs=1)


@pytest.fixture
def little_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's own layout and file format with 30 training and 10 test images."""
    draw = np.random.default_rng(0)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(count: int) -> object:
        pixels = draw.integers(0, 256, (count, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": [n % 10 for n in range(count)]}

    train = [[f"data_batch_{n}", write(f"data_batch_{n}", batch(15))] for n in (1, 2)]
    meta = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", write("test_batch", batch(10))]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")


def test_cifar_is_read_padded_and_kept_for_the_next_trial(little_cifar) -> None:
    first = in_memory.arrays(CIFAR, little_cifar)
    assert first.train.images.shape == (30, 40, 40, 3)
    assert not first.train.images[:, :4].any()
    assert first.test.images.shape == (10, 32, 32, 3)
    for file in (little_cifar / CIFAR10.base_folder).iterdir():
        file.unlink()  # the prepared arrays are enough
    again = in_memory.arrays(CIFAR, little_cifar)
    assert np.array_equal(again.train.images, first.train.images)
    assert again.digest == first.digest


def test_where_nothing_can_be_kept_the_images_are_read_each_time(little_cifar) -> None:
    (little_cifar / layouts.PREPARED).write_text("a file where the folder should be")
    read = in_memory.arrays(CIFAR, little_cifar)
    assert read.train.images.shape == (30, 40, 40, 3)


def test_cifar100_has_its_fine_labels(tmp_path, monkeypatch) -> None:
    folder = tmp_path / CIFAR100.base_folder
    folder.mkdir()

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def split(labels: list[int]) -> object:
        pixels = np.zeros((len(labels), 3072), np.uint8)
        return {"data": pixels, "fine_labels": labels, "coarse_labels": [0] * len(labels)}

    monkeypatch.setattr(CIFAR100, "train_list", [["train", write("train", split([99, 7, 3]))]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", write("test", split([42]))]])
    meta = write("meta", {"fine_label_names": [str(n) for n in range(100)]})
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": meta})
    read = in_memory.arrays(TrialSpec(dataset="cifar100"), tmp_path)
    assert read.train.labels.tolist() == [99, 7, 3]
    assert read.test.labels.tolist() == [42]


def test_the_digest_is_that_of_the_unpadded_images(little_cifar) -> None:
    padded = in_memory.arrays(CIFAR, little_cifar)
    plain = in_memory.arrays(CIFAR.changed(crop_padding=0), little_cifar)
    assert plain.digest == padded.digest
    assert np.array_equal(plain.train.images, padded.train.images[:, 4:-4, 4:-4])


def test_workers_that_prepare_at_the_same_time_all_get_the_same_arrays(little_cifar) -> None:
    digests: list[str] = []

    def work() -> None:
        digests.append(in_memory.arrays(CIFAR, little_cifar).digest)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(digests) == 4
    assert len(set(digests)) == 1
    names = {path.name for path in (little_cifar / layouts.PREPARED).iterdir()}
    assert names == {"cifar10-pad4", ".cifar10.lock"}


def test_a_damaged_file_is_named_before_anything_is_prepared(little_cifar) -> None:
    path = little_cifar / CIFAR10.base_folder / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match="data_batch_2: the checksum differs"):
        splits.load(CIFAR, little_cifar)
    assert not (little_cifar / layouts.PREPARED / "cifar10-pad4").exists()


def test_a_missing_file_is_named(little_cifar) -> None:
    (little_cifar / CIFAR10.base_folder / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch: missing; unpack cifar-10-python"):
        splits.load(CIFAR, little_cifar)


def test_damaged_prepared_arrays_are_named_with_the_way_out(little_cifar) -> None:
    in_memory.arrays(CIFAR, little_cifar)
    path = little_cifar / layouts.PREPARED / "cifar10-pad4" / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cifar10-pad4: the prepared arrays are damaged"):
        in_memory.arrays(CIFAR, little_cifar)


def test_without_data_and_network_one_line_says_where_to_put_it(tmp_path, no_network) -> None:
    with pytest.raises(DataError) as caught:
        splits.load(CIFAR, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{tmp_path / CIFAR10.base_folder}: no such data set" in message
    assert f"unpack cifar-10-python.tar.gz (from {CIFAR10.url}) so that" in message


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at, on this machine."""
    folder = tmp_path_factory.mktemp("server")
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def test_where_there_is_a_network_the_files_are_fetched(
    little_cifar, server, tmp_path_factory, monkeypatch
) -> None:
    folder, address = server
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(little_cifar / CIFAR10.base_folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "url", f"{address}/{archive.name}")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    empty = tmp_path_factory.mktemp("data")
    fetched = in_memory.arrays(CIFAR, empty)
    assert fetched.digest == in_memory.arrays(CIFAR, little_cifar).digest
    assert {path.name for path in empty.iterdir()} == {CIFAR10.base_folder, layouts.PREPARED}


def test_a_failed_download_leaves_nothing_behind(tmp_path, no_network) -> None:
    with pytest.raises(DataError):
        splits.load(CIFAR, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {layouts.PREPARED}


def test_synthetic_images_are_the_same_every_time_and_of_any_size_and_number() -> None:
    spec = small(image_size=12, train_subset=30, classes=3, crop_padding=0)
    first, again = in_memory.arrays(spec, Path()), in_memory.arrays(spec, Path())
    assert first.train.images.shape == (30, 12, 12, 3)
    assert set(first.train.labels) == {0, 1, 2}
    assert first.digest == again.digest


@pytest.fixture
def archived(little_cifar: Path, tmp_path_factory, monkeypatch) -> Path:
    """The data set's archive alone, with members that shall not be unpacked."""
    path = tmp_path_factory.mktemp("fetched") / CIFAR10.filename
    link = tarfile.TarInfo(f"{CIFAR10.base_folder}/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    outside = tarfile.TarInfo(f"{CIFAR10.base_folder}/../../outside")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(little_cifar / CIFAR10.base_folder, CIFAR10.base_folder)
        archive.addfile(link)
        archive.addfile(outside)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


@pytest.mark.parametrize("place", ["data", ".", "data/cifar-10-python"])
def test_the_archive_alone_is_unpacked(place, archived, little_cifar, tmp_path, no_network) -> None:
    expected = in_memory.arrays(CIFAR, little_cifar).digest
    data = tmp_path / "data"
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    archived.rename(tmp_path / place / CIFAR10.filename)
    assert in_memory.arrays(CIFAR, data).digest == expected
    names = {path.name for path in (data / CIFAR10.base_folder).iterdir()}
    assert names == {"data_batch_1", "data_batch_2", "test_batch", "batches.meta"}
    assert not list(tmp_path.rglob("outside"))
    assert not [path for path in data.iterdir() if path.name.startswith(f".{CIFAR10.base_folder}")]


def test_a_data_set_one_folder_deeper_is_found(little_cifar, tmp_path, no_network) -> None:
    deeper = tmp_path / "data" / "cifar-10-python"
    deeper.mkdir(parents=True)
    expected = in_memory.arrays(CIFAR, little_cifar).digest
    (little_cifar / CIFAR10.base_folder).rename(deeper / CIFAR10.base_folder)
    assert in_memory.arrays(CIFAR, tmp_path / "data").digest == expected


def test_a_damaged_archive_is_named_and_nothing_is_unpacked(archived, tmp_path, no_network) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / CIFAR10.filename).write_bytes(archived.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"tar.gz: the checksum differs .*; fetch it again"):
        in_memory.arrays(CIFAR, data)
    assert not (data / CIFAR10.base_folder).exists()
