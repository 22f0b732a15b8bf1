"""A copy of a folder of images, reduced and decoded once: one file of pixels for random reading.

`bnsweep prepare` makes it under `ROOT/prepared`, and trials whose `shorter_side` it has read it
instead of the folder, with the pixels that they would have made themselves. It is complete or
absent: what is under way lies in a folder of another name, and goes on where it was cut off.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.data.decoders import Decoders
from trainer.data.decoding import Files, Raw, Stored, described
from trainer.data.in_memory import locked
from trainer.data.layouts import prepared_folder
from trainer.errors import DataError
from trainer.files import sync_folder, write_atomically, write_json
from trainer.spec import TrialSpec, classes_of

PIXELS, INDEX, ABOUT = "pixels.bin", "index.npy", "about.json"
_DONE = "done.jsonl"
"""While it is made: a line for each chunk that is safe on the disk."""
CHUNK = 64
SAFE_EVERY = 16
"""Chunks between two flushes to the disk: what an interruption costs at most."""
SAY_EVERY_S = 10.0


@dataclass(frozen=True)
class StoredListing:
    """One split: the places [n, 3] of its images in the file, and their labels."""

    path: Path
    places: NDArray[np.int64]
    labels: list[int]

    def only(self, members: NDArray[np.int64]) -> StoredListing:
        """These images, in this order."""
        labels = [self.labels[n] for n in members.tolist()]
        return replace(self, places=self.places[members], labels=labels)

    def images(self, indices: Sequence[int]) -> Stored:
        """These images, for a task."""
        return Stored(str(self.path), self.places[list(indices)])


@dataclass(frozen=True)
class PreparedImages:
    train: StoredListing
    test: StoredListing
    digest: str
    """Of the folder from which they were made."""
    decoder: str


class Split(Protocol):
    """A split of the folder itself, `trainer.data.image_folder.Listing`."""

    @property
    def labels(self) -> list[int]: ...

    def images(self, indices: Sequence[int]) -> Files: ...


def find(spec: TrialSpec, root: Path) -> PreparedImages | None:
    """The copy for the spec, if it has been made. Raises DataError for a damaged one."""
    folder = prepared_folder(root, spec.data_id or spec.dataset, spec.shorter_side)
    if not spec.shorter_side or not folder.exists():
        return None
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        index = np.load(folder / INDEX)
        if (folder / PIXELS).stat().st_size != about["bytes"]:
            raise ValueError(f"{PIXELS} should have {about['bytes']} bytes")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder}: the prepared images are damaged ({error}); remove this folder and "
            "run `bnsweep prepare` again"
        ) from error
    if about["classes"] != classes_of(spec):
        raise DataError(
            f"{folder}: has {about['classes']} classes, but classes: {classes_of(spec)}"
        )
    parts = index[: about["train"]], index[about["train"] :]
    train, test = (
        StoredListing(folder / PIXELS, part[:, :3], part[:, 3].tolist()) for part in parts
    )
    return PreparedImages(train, test, about["digest"], about["decoder"])


# --- making it -----------------------------------------------------------------------------------


def make(
    spec: TrialSpec,
    root: Path,
    splits: tuple[Split, Split],
    digest: str,
    decoders: Decoders,
    say: Callable[[str], None],
) -> Path:
    """Write the copy, or go on with it. `splits` decode by PIL and reduce to the spec's shorter
    side; `say` gets a line now and then. Raises DataError where the disk has no room."""
    folder = prepared_folder(root, spec.data_id or spec.dataset, spec.shorter_side)
    about = {
        "digest": digest,
        "shorter_side": spec.shorter_side,
        "decoder": described("pil"),
        "classes": classes_of(spec),
        "train": len(splits[0].labels),
        "test": len(splits[1].labels),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / f".{folder.name}.lock"):
            if not folder.exists():
                _make(folder, about, splits, decoders, say)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"{folder}: no space left; the same command goes on once there is"
        ) from error
    return folder


def _make(
    folder: Path,
    about: dict[str, Any],
    splits: tuple[Split, Split],
    decoders: Decoders,
    say: Callable[[str], None],
) -> None:
    part = folder.with_name(f".{folder.name}.part")
    done = _begun(part, about)
    indices = [(split, i) for split in splits for i in range(len(split.labels))]
    chunks = [indices[first : first + CHUNK] for first in range(0, len(indices), CHUNK)]
    tasks = (Raw(_images(chunk)) for chunk in chunks[len(done) :])
    end = done[-1]["end"] if done else 0
    new: list[dict[str, Any]] = []
    said = time.monotonic()
    with (part / PIXELS).open("r+b") as pixels, (part / _DONE).open("a", encoding="utf-8") as notes:
        pixels.truncate(end)
        pixels.seek(end)
        for content, sizes in decoders.outcomes(tasks, 2 * decoders.count):
            assert content is not None
            pixels.write(content.data)
            end += len(content)
            sha256 = hashlib.sha256(content.data).hexdigest()
            new.append({"end": end, "sizes": sizes, "sha256": sha256})
            if len(new) == SAFE_EVERY:
                _make_safe(pixels, notes, new)
                done, new = done + new, []
                images = len(done) * CHUNK
                _check_room(folder, end / images * (len(indices) - images))
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    say(f"{folder}: {images:,} of {len(indices):,} images, {end / 1e9:.1f} GB")
        _make_safe(pixels, notes, new)
    _finish(part, folder, about, splits, done + new)
    say(f"{folder}: {len(indices):,} images, {end / 1e9:.2f} GB")


def _begun(part: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """What an earlier run has made safe; nothing where it was made of something else."""
    part.mkdir(exist_ok=True)
    try:
        if json.loads((part / ABOUT).read_bytes()) == about:
            lines = (part / _DONE).read_text(encoding="utf-8").splitlines(keepends=True)
            done = [json.loads(line) for line in lines if line.endswith("\n")]
            if (part / PIXELS).stat().st_size >= (done[-1]["end"] if done else 0):
                write_atomically(part / _DONE, "".join(lines[: len(done)]).encode())
                return done
    except (OSError, ValueError):
        pass
    shutil.rmtree(part)
    part.mkdir()
    (part / PIXELS).touch()
    (part / _DONE).touch()
    write_json(part / ABOUT, about)
    return []


def _images(chunk: Sequence[tuple[Split, int]]) -> Files:
    """The images of a chunk, which may end one split and begin the other."""
    files = [split.images([index]) for split, index in chunk]
    return replace(files[0], paths=tuple(path for each in files for path in each.paths))


def _make_safe(pixels: Any, notes: Any, new: Sequence[dict[str, Any]]) -> None:
    """The pixels first: a line in the notes is a promise."""
    pixels.flush()
    os.fsync(pixels.fileno())
    notes.writelines(json.dumps(each) + "\n" for each in new)
    notes.flush()
    os.fsync(notes.fileno())


def _check_room(folder: Path, wanted: float) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < wanted:
        raise DataError(
            f"{folder}: about {wanted / 1e9:.1f} GB are still wanted and {free / 1e9:.1f} GB free; "
            "the same command goes on once there is room"
        )


def _finish(
    part: Path,
    folder: Path,
    about: dict[str, Any],
    splits: tuple[Split, Split],
    done: Sequence[dict[str, Any]],
) -> None:
    sizes = np.array([size for each in done for size in each["sizes"]], np.int64)
    lengths = sizes.prod(1) * 3
    labels = [label for split in splits for label in split.labels]
    index = np.column_stack([np.cumsum(lengths) - lengths, sizes, labels])
    np.save(part / INDEX, index)
    whole = hashlib.sha256("".join(each["sha256"] for each in done).encode()).hexdigest()
    pixels = {"bytes": int(lengths.sum()), "pixels_sha256": whole}
    write_json(part / ABOUT, {**about, **pixels})
    (part / _DONE).unlink()
    sync_folder(part)
    part.rename(folder)
    sync_folder(folder.parent)
