"""A network's trained elements and BatchNorm statistics, each packed in one vector.

The optimizer updates one vector and the checkpoint is these vectors: hundreds of small tensors
would cost a kernel and a header each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Flat:
    """Rebinds a model's tensors to views of two vectors, so that either side sees every change.

    `values` [trained elements] is what the optimizer updates, `statistics` [2 · BN channels] the
    running means and variances. Where only some elements of a tensor train (`indices`: name →
    positions in the tensor's own order), `values` is a copy, and `publish` writes it back.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], indices: Mapping[str, Tensor] | None = None
    ) -> None:
        parameters = dict(model.named_parameters())
        self.parameters = [parameters[name] for name in names]
        self.weights = _pack([parameter.detach() for parameter in self.parameters], model)
        _rebind_parameters(self.parameters, self.weights)
        self.statistics = _flatten_statistics(model)
        self._positions: Tensor | None = None
        self.values = self.weights
        if indices:
            self._positions = _positions(names, self.parameters, indices)
            self.values = self.weights[self._positions]

    def gradient(self, loss: Tensor) -> Tensor:
        """d loss / d values, a new vector."""
        gradients = torch.autograd.grad(loss, self.parameters)
        packed = torch.cat([_line(gradient) for gradient in gradients])
        return packed if self._positions is None else packed[self._positions]

    def publish(self) -> None:
        """Make the network see `values` after an update."""
        if self._positions is not None:
            self.weights[self._positions] = self.values

    def load(self, values: Tensor, statistics: Tensor) -> None:
        """Overwrite both vectors (of the same lengths) and the network with them."""
        self.values.copy_(values)
        self.statistics.copy_(statistics)
        self.publish()


def _line(tensor: Tensor) -> Tensor:
    """The elements of `tensor` in a row; a convolution's in channels-last order."""
    return (tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor).reshape(-1)


def _pack(tensors: list[Tensor], model: nn.Module) -> Tensor:
    if tensors:
        return torch.cat([_line(tensor) for tensor in tensors])
    return torch.zeros(0, device=next(model.parameters()).device)


def _rebind_parameters(parameters: list[nn.Parameter], packed: Tensor) -> None:
    for parameter, part in zip(parameters, _parts(parameters, packed), strict=True):
        if parameter.dim() == 4:
            out, channels, height, width = parameter.shape
            parameter.data = part.view(out, height, width, channels).permute(0, 3, 1, 2)
        else:
            parameter.data = part.view(parameter.shape)


def _parts(tensors: Sequence[Tensor], packed: Tensor) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = torch.split(packed, [tensor.numel() for tensor in tensors])
    return parts


def _flatten_statistics(model: nn.Module) -> Tensor:
    """Pack the running means and variances, and what other buffers of fp32 there are.

    The batch counters, which nothing reads, are dropped: one is an integer kernel for each
    BatchNorm and step, a quarter of the forward's.
    """
    for module in model.modules():
        if isinstance(module, _NormBase):
            module.num_batches_tracked = None
    owners = [(module, name) for _, module, name in float_buffers(model)]
    tensors = [getattr(module, name) for module, name in owners]
    packed = _pack(tensors, model)
    for (module, name), part in zip(owners, _parts(tensors, packed), strict=True):
        setattr(module, name, part)
    return packed


def float_buffers(model: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Full name, owner and own name of each fp32 buffer: running statistics, in our networks."""
    return [
        (f"{prefix}.{name}" if prefix else name, module, name)
        for prefix, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and buffer.dtype == torch.float32
    ]


def _positions(
    names: Sequence[str], parameters: Sequence[Tensor], indices: Mapping[str, Tensor]
) -> Tensor:
    """Positions in the packed vector of each tensor's trained elements, names in order."""
    found, offset = [], 0
    for name, parameter in zip(names, parameters, strict=True):
        own = torch.arange(parameter.numel(), device=parameter.device).view(parameter.shape)
        place = torch.empty_like(own.view(-1))  # element in the tensor's order → place in the line
        place[_line(own)] = own.view(-1)
        kept = place[indices[name].to(place.device)] if name in indices else place
        found.append(kept + offset)
        offset += parameter.numel()
    return torch.cat(found)
