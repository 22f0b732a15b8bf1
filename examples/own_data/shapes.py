"""Two readers of one's own: PNGs of mixed sizes in folders by class, and a .npz file."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.extend import data_set

SIDE = 16


@data_set(classes=3, side=SIDE, train=300, test=90)
def png_shapes(root: Path, _spec: Any) -> Any:
    """`shapes/{train,test}/CLASS/*.png`, brought to one size."""

    def split(name: str) -> Any:
        images, labels = [], []
        classes = sorted(path for path in (root / "shapes" / name).iterdir() if path.is_dir())
        for label, folder in enumerate(classes):
            for file in sorted(folder.glob("*.png")):
                images.append(Image.open(file).resize((SIDE, SIDE)))
                labels.append(label)
        return images, labels

    return split("train"), split("test")


@data_set(classes=3, side=SIDE, train=300, test=90)
def npz_shapes(root: Path, _spec: Any) -> Any:
    """`shapes/{train,test}.npz` with `images` [n, 16, 16] and `labels` [n]."""

    def split(name: str) -> Any:
        with np.load(root / "shapes" / f"{name}.npz") as arrays:
            return arrays["images"], arrays["labels"]

    return split("train"), split("test")
