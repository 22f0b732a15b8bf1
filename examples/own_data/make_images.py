"""Draws the data of this example: a folder of grey PNGs of mixed sizes, and a .npz file.

python make_images.py DATA      # DATA is bnsweep's data folder: --data, BNSWEEP_DATA, ./data
"""

import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle")


def draw(shape: str, chance: random.Random) -> Image.Image:
    """A bright shape on a dark ground, 20 to 48 pixels wide."""
    side = chance.randint(20, 48)
    picture = Image.new("L", (side, side), chance.randint(0, 60))
    pen, bright = ImageDraw.Draw(picture), chance.randint(150, 255)
    left, top = chance.randint(1, side // 4), chance.randint(1, side // 4)
    right, bottom = side - chance.randint(1, side // 4), side - chance.randint(1, side // 4)
    if shape == "circle":
        pen.ellipse((left, top, right, bottom), fill=bright)
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill=bright)
    else:
        pen.polygon(((left, bottom), (right, bottom), ((left + right) // 2, top)), fill=bright)
    return picture


def main(data: Path) -> None:
    """Write 100 training and 30 test images of each shape."""
    chance = random.Random(0)
    for split, count in (("train", 100), ("test", 30)):
        pixels, labels = [], []
        for label, shape in enumerate(SHAPES):
            folder = data / "shapes" / split / shape
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = draw(shape, chance)
                picture.save(folder / f"{number:03}.png")
                pixels.append(np.asarray(picture.resize((16, 16))))
                labels.append(label)
        np.savez_compressed(data / "shapes" / f"{split}.npz", images=pixels, labels=labels)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
