"""The stock way: torchvision's data set, per-image transforms, a DataLoader, a plain loop.

Channels first, fp32, all threads; what a careful person writes from the tutorials. It shares no
code with the trainer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

BATCH = 128
Clock = Callable[[], float]
_NORMALISE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_AUGMENT = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip()]


class Block(nn.Module):
    """Two convolutions with BatchNorm and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """ResNet for CIFAR with `depth` = 6D+2 weight layers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)]
        layers.append(nn.ReLU())
        inputs = 16
        for group in range(3):
            for number in range((depth - 2) // 6):
                stride = 2 if group and number == 0 else 1
                layers.append(Block(inputs, 16 * 2**group, stride))
                inputs = 16 * 2**group
        self.body = nn.Sequential(*layers)
        self.output = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.body(x).mean((2, 3)))
        return logits


def freeze(model: ResNet, mode: str) -> None:
    for module in model.modules():
        trains = mode == "all" or (mode == "bn_only" and isinstance(module, nn.BatchNorm2d))
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(trains)
    model.output.requires_grad_(mode in ("all", "output_only"))


def train_loader(data: Path, workers: int = 0) -> DataLoader[Any]:
    transform = transforms.Compose([*_AUGMENT, transforms.ToTensor(), _NORMALISE])
    split = datasets.CIFAR10(str(data), train=True, transform=transform)
    return DataLoader(split, BATCH, shuffle=True, num_workers=workers)


def test_loader(data: Path, images: int) -> DataLoader[Any]:
    transform = transforms.Compose([transforms.ToTensor(), _NORMALISE])
    split = datasets.CIFAR10(str(data), train=False, transform=transform)
    return DataLoader(Subset(split, range(images)), BATCH)


def endless(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


class StockTrial:
    """One network in training; `chunk` is a piece of an epoch with its share of evaluation."""

    def __init__(self, depth: int, mode: str, data: Path) -> None:
        torch.manual_seed(0)
        self.model, self.data = ResNet(depth), data
        freeze(self.model, mode)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(trained, 0.1, momentum=0.9, weight_decay=1e-4)
        self.batches = endless(train_loader(data))

    def chunk(self, steps: int, clock: Clock = time.perf_counter) -> float:
        """Seconds for `steps` updates and a fifth as many images of evaluation, as in an epoch."""
        start = clock()
        self.model.train()
        total, hits = 0.0, 0
        for _ in range(steps):
            images, labels = next(self.batches)
            self.optimizer.zero_grad()
            logits = self.model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
            hits += int((logits.argmax(1) == labels).sum())
        self._evaluate(steps * BATCH // 5)
        return clock() - start

    def _evaluate(self, images: int) -> None:
        self.model.eval()
        total, hits = 0.0, 0
        with torch.no_grad():
            for batch, labels in test_loader(self.data, images):
                logits = self.model(batch)
                total += F.cross_entropy(logits, labels, reduction="sum").item()
                hits += int((logits.argmax(1) == labels).sum())
