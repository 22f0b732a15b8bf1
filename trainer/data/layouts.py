"""Where the images of a folder lie and which class each has, in the layouts that people have them.

Known for the training images are class folders; for the test images class folders, or one flat
folder beside a file that tells the classes. No torch here: `plan` and `doctor` look, too.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import DataError

TRAIN, VALIDATION = "train", "val"
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
KAGGLE = Path("ILSVRC/Data/CLS-LOC")
"""Where Kaggle's archive has its images; its lists of them lie beside `ILSVRC`."""
KAGGLE_TRUTH = "LOC_val_solution.csv"
TRUTH = "val.txt"
"""A line for each test image: its file's name and its class, by name or by number from 0."""
PREPARED = "prepared"
"""The folder in the data folder for what was made of the data."""
DEVKIT = "ILSVRC2012_devkit_t12"
_DEVKIT_TRUTH = f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt"
_DEVKIT_CLASSES = f"{DEVKIT}/data/meta.mat"
_HOW = f"put {TRUTH} (a line each: file class), Kaggle's {KAGGLE_TRUTH} or {DEVKIT}/ beside it"


@dataclass(frozen=True)
class Found:
    """A folder of images: paths relative to it, each with its class, and the classes' names."""

    folder: Path
    layout: str
    """In words, for people."""
    classes: list[str]
    train: list[tuple[str, str]]
    test: list[tuple[str, str]]

    def __str__(self) -> str:
        return (
            f"{self.folder}: {self.layout}, {len(self.train):,} training and {len(self.test):,} "
            f"test images of {len(self.classes):,} classes"
        )


def find(folder: Path, count: int = 0) -> Found:
    """What lies in `folder`; `count`: how many classes it should have, where that is known.

    Raises DataError for what is missing or does not go together.
    """
    images = images_of(folder)
    train = _by_class(images / TRAIN)
    classes = sorted(train)
    flat = _flat(images / VALIDATION)
    held = {} if flat else _by_class(images / VALIDATION)
    if not flat and classes != sorted(held):
        odd = sorted(train.keys() ^ held.keys())[0]
        raise DataError(f"{images}: class {odd} is in only one of {TRAIN}/ and {VALIDATION}/")
    if count not in (0, len(classes)):
        raise DataError(f"{folder}: has {len(classes)} classes, but classes: {count}")
    pairs = list(_pairs(folder, images / TRAIN, train))
    if flat:
        test, told_by = _with_truth(folder, images, flat, classes)
        layout = f"flat {VALIDATION}/ with {told_by}"
    else:
        test, layout = list(_pairs(folder, images / VALIDATION, held)), "class folders"
    if images != folder:
        layout = f"Kaggle's layout, {layout}"
    return Found(folder, layout, classes, pairs, test)


def images_of(folder: Path) -> Path:
    """The folder of `train` and `val`: itself, or Kaggle's within it."""
    for inner in (KAGGLE, Path(*KAGGLE.parts[1:])):
        if not (folder / TRAIN).is_dir() and (folder / inner).is_dir():
            return folder / inner
    return folder


def class_count(folder: Path) -> int:
    """How many classes the training images in `folder` have; 0 where there are none to see."""
    try:
        return len(_class_names(images_of(folder) / TRAIN))
    except OSError:
        return 0


def prepared_folder(root: Path, name: str, shorter_side: int) -> Path:
    """Where the images of the folder `name`, so reduced, are kept by `bnsweep prepare`."""
    return root / PREPARED / f"{name}-shorter{shorter_side}"


# --- folders -------------------------------------------------------------------------------------


def _class_names(split: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(split) if entry.is_dir())


def _by_class(split: Path) -> dict[str, list[str]]:
    """The images of each class folder, their paths relative to `split`, sorted."""
    try:
        names = _class_names(split)
    except OSError as error:
        raise DataError(
            f"{split}: no such folder; it should hold a folder for each class{_archives(split)}"
        ) from error
    if not names:
        raise DataError(f"{split}: no folders of classes in it")
    return {name: sorted(_below(split, name), key=lambda file: file.split("/")) for name in names}


def _below(split: Path, name: str) -> Iterator[str]:
    for folder, _, files in os.walk(split / name):
        inner = os.path.relpath(folder, split)
        yield from (f"{inner}/{file}" for file in files if _is_image(file))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if name.lower().endswith(SUFFIXES) else name


def _flat(split: Path) -> list[str]:
    """The images that lie in `split` itself, sorted."""
    try:
        return sorted(entry.name for entry in os.scandir(split) if _is_image(entry.name))
    except OSError:
        return []  # what is missing is said where class folders are looked for


def _pairs(
    folder: Path, split: Path, by_class: Mapping[str, Iterable[str]]
) -> Iterator[tuple[str, str]]:
    beginning = split.relative_to(folder).as_posix()
    for name, files in by_class.items():
        if not files:
            raise DataError(f"{split / name}: no images in this class")
        yield from ((f"{beginning}/{file}", name) for file in files)


def _archives(split: Path) -> str:
    if any(split.parent.glob("ILSVRC2012_img_*.tar")):
        return "; the archives are here: `bnsweep prepare` unpacks them"
    return ""


# --- who tells the classes of a flat folder ------------------------------------------------------


def _with_truth(
    folder: Path, images: Path, files: list[str], classes: list[str]
) -> tuple[list[tuple[str, str]], str]:
    """The files with their classes, and which file tells; raises DataError."""
    told, by = _truth(folder, images, files)
    known = set(classes)
    found = []
    for file in files:
        name = told.get(_stem(file))
        if name is None:
            raise DataError(f"{by}: says nothing of {images / VALIDATION / file}")
        if name not in known and name.isdecimal() and int(name) < len(classes):
            name = classes[int(name)]
        if name not in known:
            raise DataError(f"{by}: {file} is of class {name}, which {TRAIN}/ does not have")
        found.append((f"{(images / VALIDATION / file).relative_to(folder).as_posix()}", name))
    return found, by.name


def _truth(folder: Path, images: Path, files: list[str]) -> tuple[dict[str, str], Path]:
    """The class of each file by its name without suffix."""
    readers: dict[str, Callable[[Path, list[str]], dict[str, str]]] = {
        TRUTH: _columns,
        KAGGLE_TRUTH: _kaggle,
        _DEVKIT_TRUTH: _devkit,
    }
    for name, read in readers.items():
        for place in (folder, images, folder.parent):
            path = place / name
            if path.is_file():
                try:
                    return read(path, files), path
                except (OSError, ValueError, KeyError, IndexError) as error:
                    raise DataError(f"{path}: cannot be read ({error})") from error
    raise DataError(
        f"{images / VALIDATION}: {len(files)} images without class folders, and no file that tells "
        f"their classes; {_HOW}"
    )


def _columns(path: Path, _files: list[str]) -> dict[str, str]:
    lines = (
        line.split()
        for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        if line.strip()
    )
    return {_stem(Path(first).name): second for first, second, *_ in lines}


def _kaggle(path: Path, _files: list[str]) -> dict[str, str]:
    """ImageId,PredictionString: the class is the prediction's first word, its box follows."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}


def _devkit(path: Path, files: list[str]) -> dict[str, str]:
    """Numbers of the devkit's own, in the order of the files; `meta.mat` says what they mean."""
    from scipy.io import loadmat  # half a second that other layouts spare

    meta = path.parents[2] / _DEVKIT_CLASSES
    synsets = loadmat(str(meta), squeeze_me=True)["synsets"]
    names = {int(each["ILSVRC2012_ID"]): str(each["WNID"]) for each in synsets}
    numbers = path.read_text(encoding="utf-8").split()
    if len(numbers) != len(files):
        raise ValueError(f"{len(numbers)} lines for {len(files)} images")
    return {_stem(file): names[int(n)] for file, n in zip(files, numbers, strict=True)}
