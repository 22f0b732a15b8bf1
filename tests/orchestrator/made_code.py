"""A sweep with code of the user's own beside it, and a cache folder of the test's own."""

from __future__ import annotations

MINE = '''\
"""A network and a freezing mode."""

from torch import nn
from trainer.extend import BatchNorm, augmentation, conv, data_set, mode, network, output


@network(depths=[1, 2], sides=(8, 64), label="Tiny")
class Tiny(nn.Module):
    def __init__(self, spec):
        super().__init__()
        filters = spec.option("filters", 8)
        self.conv1, self.bn1 = conv(3, filters, 3), BatchNorm(filters, spec)
        self.fc = output(filters, spec)

    def forward(self, images):
        return self.fc(self.bn1(self.conv1(images), relu=True).mean((2, 3)))


@mode
def stem_only(role):
    return role.name.startswith("conv1.")


@data_set(classes=2, side=8, train=16, test=8)
def squares(root, spec):
    import torch

    def split(count):
        return torch.rand(count, 8, 8), torch.arange(count) % 2

    return split(16), split(8)


@augmentation
def darker(images, generator):
    return images / 2
'''
BASE = "base: {model: tiny, depth: 1, dataset: digits, epochs: 1, crop_padding: 0}\n"


def written(folder, text=BASE, code=MINE):
    """Writes a sweep file, `text` from its third line on, and its code; returns its path."""
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(code)
    (folder / "mine.yaml").write_text(f"name: mine\ncode: mine.py\n{text}")
    return folder / "mine.yaml"
