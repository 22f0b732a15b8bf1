"""One trial's network, its frozen and trained tensors, and the step that updates them.

`step` is the unit that a faster back end may replace: it reads a batch and a rate, and returns
loss and hits as tensors on the device, without waiting for it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import bn_groups, freezing, optim, seeding
from trainer.exchange import ALONE, Ranks
from trainer.flat import Flat, float_buffers
from trainer.kernels import cuda_graphs, fused_norm
from trainer.networks import roles
from trainer.numerics import autocast
from trainer.spec import TrialSpec, classes_of, image_size_of
from trainer.weights import initial
from trainer.weights.initial import InitialNetwork


class Learner:
    """Takes over `network`, or builds it from the spec, and moves it from the CPU to `device`.

    `pretrained` is the file of a spec with `weights: pretrained`.
    """

    def __init__(
        self,
        spec: TrialSpec,
        device: torch.device,
        kernels: fused_norm.Kernels = "stock",
        pretrained: Path | None = None,
        network: InitialNetwork | None = None,
    ) -> None:
        self.spec, self.device = spec, device
        network = network or initial.prepare(spec, pretrained)
        model, self.trained, self.initial = network.model, network.trained, network.snapshot
        self.counts = roles.counts(model, self.trained.count(model))
        self.model: nn.Module = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if kernels == "fused":
            fused_norm.enable(self.model)
        self.flat = Flat(self.model, self.trained.names, self.trained.indices)
        self.optimizer = optim.build(spec, self.flat.values)
        self.graph: cuda_graphs.Graph | None = None
        self.ranks: Ranks = ALONE

    def forward(self, images: Tensor) -> Tensor:
        """Images [b, 3, side, side] to logits [b, classes], fp32 in any precision."""
        with autocast(self.spec, self.device):
            logits: Tensor = self.model(images)
        return logits.float()

    def features(self, images: Tensor) -> Tensor:
        """Images to what the output layer sees, [b, features], as `forward` computes it."""
        with autocast(self.spec, self.device):
            features: Tensor = self.model.features(images)  # type: ignore[operator]
        return features

    def output(self, features: Tensor) -> Tensor:
        """The rest of `forward`: features to logits, fp32."""
        with autocast(self.spec, self.device):
            logits: Tensor = self.model.fc(features)  # type: ignore[operator]
        return logits.float()

    def step(
        self, images: Tensor, labels: Tensor, rate: float, number: int
    ) -> tuple[Tensor, Tensor]:
        """One update (`number` counts them from 0). The batch's mean loss and its count of hits.

        Where nothing trains there is no backward, but BatchNorm's running statistics still move.
        """
        return self._step(self._outputs, images, labels, rate, number)

    def step_output(
        self, features: Tensor, labels: Tensor, rate: float, number: int
    ) -> tuple[Tensor, Tensor]:
        """`step`, on the `training_features` of the batch."""
        return self._step(self._outputs_of_features, features, labels, rate, number)

    def training_features(self, images: Tensor) -> Tensor:
        """`features` of a training batch, by its BatchNorm groups."""
        features = []
        for index, group in enumerate(bn_groups.cut(len(images), self.spec.group_size)):
            before = bn_groups.kept(self.flat.statistics, index)
            with torch.no_grad():
                features.append(self.features(images[group]))
            bn_groups.put_back(self.flat.statistics, before)
        return torch.cat(features)

    def _step(
        self,
        differentiate: cuda_graphs.Differentiate,
        inputs: Tensor,
        labels: Tensor,
        rate: float,
        number: int,
    ) -> tuple[Tensor, Tensor]:
        """The update by all groups of a batch."""
        groups = bn_groups.cut(len(labels), self.spec.group_size)
        if len(groups) == self.ranks.size == 1:
            outputs = self._group(differentiate, inputs, labels, number, 0)
        else:
            outputs = self._groups(differentiate, inputs, labels, number, groups)
        loss, hits, gradient = outputs
        self._update(gradient, rate, number)
        return loss, hits

    def _groups(
        self,
        differentiate: cuda_graphs.Differentiate,
        inputs: Tensor,
        labels: Tensor,
        number: int,
        groups: list[slice],
    ) -> cuda_graphs.Outputs:
        """All groups of step `number`, added in their order; each rank does one in turn."""
        ranks, length = self.ranks, len(self.flat.values) + bn_groups.BESIDE_GRADIENT
        total: Tensor | None = None
        for first in range(0, len(groups), ranks.size):
            there = groups[first : first + ranks.size]
            if ranks.rank < len(there):
                group, index = there[ranks.rank], first + ranks.rank
                outputs = self._group(differentiate, inputs[group], labels[group], number, index)
                vector = bn_groups.packed(outputs, (group.stop - group.start) / len(labels))
                del outputs  # as long as all that trains, which the next group need not hold
            else:
                vector = self.flat.values.new_zeros(length)
            total = ranks.added(total, vector, len(there))
            del vector
        assert total is not None
        return bn_groups.unpacked(ranks.whole(total, length))

    def _group(
        self,
        differentiate: cuda_graphs.Differentiate,
        inputs: Tensor,
        labels: Tensor,
        number: int,
        index: int,
    ) -> cuda_graphs.Outputs:
        """Group `index` of step `number`."""
        if self.spec.own:  # it may drop units; so that a resume drops the same, without a state
            torch.manual_seed(seeding.of_forward(self.spec.seed, number, index))
        before = bn_groups.kept(self.flat.statistics, index)
        outputs = differentiate(inputs, labels)
        bn_groups.put_back(self.flat.statistics, before)
        return outputs

    def _outputs(self, images: Tensor, labels: Tensor) -> cuda_graphs.Outputs:
        graph = self.graph if self.graph and self.graph.fits(images) else self.differentiate
        return graph(images, labels)

    def _outputs_of_features(self, features: Tensor, labels: Tensor) -> cuda_graphs.Outputs:
        return self._differentiate(lambda: self.output(features), labels)

    def differentiate(self, images: Tensor, labels: Tensor) -> cuda_graphs.Outputs:
        """A group's part of a step: mean loss, hits, and the gradient of the trained values."""
        return self._differentiate(lambda: self.forward(images), labels)

    def _differentiate(
        self, logits_of: Callable[[], Tensor], labels: Tensor
    ) -> cuda_graphs.Outputs:
        trains = bool(self.trained.names)
        with torch.set_grad_enabled(trains):
            logits = logits_of()
            loss = F.cross_entropy(logits, labels)
        gradient = self.flat.gradient(loss) if trains else self.flat.values
        return loss.detach(), (logits.detach().argmax(1) == labels).sum(), gradient

    def _update(self, gradient: Tensor, rate: float, number: int) -> None:
        if self.trained.names:
            with torch.no_grad():
                self.optimizer.update(self.flat.values, gradient, rate, number)
                self.flat.publish()

    def record_graph(self, capture: cuda_graphs.Capture | None = None) -> bool:
        """Let full groups be replayed as one CUDA graph; False where that cannot be done."""
        side, size = image_size_of(self.spec), self.spec.group_size
        draw = torch.Generator().manual_seed(0)  # not the GPU's, which is everybody's
        pixels = torch.randn(size, side, side, 3, generator=draw)
        images = pixels.to(self.device).permute(0, 3, 1, 2)
        labels = torch.arange(size, device=self.device) % classes_of(self.spec)
        self.model.train()
        self.graph = cuda_graphs.record(
            self.differentiate, images, labels, self.flat.statistics, capture
        )
        return self.graph is not None

    def final_digest(self) -> str:
        """sha256 over all that training can change: every parameter and running statistic."""
        digest = hashlib.sha256(freezing.snapshot(self.model).digest.encode())
        digest.update(self.flat.statistics.cpu().numpy().tobytes())
        return digest.hexdigest()

    def final_tensors(self) -> bytes:
        """What training changed, by name, as a torch file: trained tensors, running statistics."""
        names, buffers = set(self.trained.names), {n for n, _, _ in float_buffers(self.model)}
        tensors = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers())
            if name in names or name in buffers
        }
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        return buffer.getvalue()
