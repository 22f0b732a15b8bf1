"""A GPU by name only: tensors in main memory of which some say that they are on `cuda:0`.

Real numbers, so that whole trials run; what would bring tensors of two devices together is noted,
and NumPy does not see into the pretended memory. There are no streams, graphs or libraries in it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


class PretendedGpu(TorchFunctionMode):
    """Inside, `device=`, `.to` and `.cpu` place tensors; `mixed` lists operations of two places."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[str] = []
        self._here: dict[int, StorageWeakRef] = {}
        """What lies on the GPU. A weak reference keeps its key from being used again."""
        self._operations = _Operations(self)

    def __enter__(self) -> PretendedGpu:
        self._operations.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._operations.__exit__(*error)

    def holds(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._here

    def place(self, tensor: Tensor, device: torch.device) -> None:
        storage = tensor.untyped_storage()
        if device.type == "cuda":
            self._here[storage._cdata] = StorageWeakRef(storage)
        else:
            self._here.pop(storage._cdata, None)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return GPU if self.holds(args[0]) else CPU
        if func in (Tensor.numpy, Tensor.__array__, Tensor.__reduce_ex__) and self.holds(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        asked = [part for part in (*args, *kwargs.values()) if isinstance(part, torch.device)]
        if func is Tensor.cpu or (func is Tensor.to and asked):
            return self._moved(func, args, kwargs, asked[0] if asked else CPU)
        if kwargs.get("device") != GPU:
            return func(*args, **kwargs)
        made: Tensor = func(*args, **kwargs | {"device": CPU})
        self.place(made, GPU)
        return made

    def _moved(self, func: Any, args: Any, kwargs: Any, device: torch.device) -> Tensor:
        args = [CPU if isinstance(part, torch.device) else part for part in args]
        kwargs = {n: CPU if isinstance(part, torch.device) else part for n, part in kwargs.items()}
        moved: Tensor = func(*args, **kwargs)
        if self.holds(args[0]) != (device.type == "cuda"):
            moved = moved.clone()
            self.place(moved, device)
        return moved


class _Operations(TorchDispatchMode):
    """What is computed from the GPU's tensors is the GPU's, in the backward pass, too."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        held = [self._gpu.holds(tensor) for tensor in given]
        result = func(*args, **(kwargs or {}))
        if any(held):
            numbers = [tensor.dim() == 0 for tensor in given]  # these a GPU's operations may take
            if func is not torch.ops.aten.copy_.default and not all(map(max, held, numbers)):
                self._gpu.mixed.append(str(func))
            for tensor in _tensors(result):
                self._gpu.place(tensor, GPU)
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [part for part in tree_leaves(tree) if isinstance(part, Tensor)]
