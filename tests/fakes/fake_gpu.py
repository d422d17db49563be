"""A GPU that computes nothing, so that code for CUDA can be run where there is none.

Its tensors have a shape, a type and a device, but no values: those of torch's FakeTensorMode, with which its compiler
traces. An operation on tensors of two devices raises, and so does one that needs values (`item`, `nonzero`, a boolean
index). A copy that a real GPU would be waited for is counted.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NUMPY_TYPES = {torch.bool: np.bool_, torch.uint8: np.uint8, torch.int64: np.int64, torch.float32: np.float32}


class Stream:
    """waits: how often something waited for it. kept: shapes of tensors whose memory it asked to keep until it is
    done with them. operations: what was to be computed in it."""

    def __init__(self, device: object = None, priority: int = 0) -> None:
        self.device, self.priority = device, priority
        self.waits, self.kept, self.operations = 0, [], []

    def synchronize(self) -> None:
        self.waits += 1


class FakeGPU(TorchDispatchMode):
    """waits: operations that would wait for a real GPU. stream: the current one. values: by shape, what tensors hold
    that are copied back; others hold zeros, or True."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.values = [], {}
        self.stream = self.default_stream = Stream()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        if torch.is_inference_mode_enabled() and function.namespace != "prim" and function._can_decompose():
            with self:
                return function.decompose(*arguments, **options)
        result = function(*arguments, **options)
        if options.get("pin_memory"):
            result.is_pinned_here = True
        given, made = (
            [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
            for values in ((arguments, options), result)
        )
        if any(tensor.is_cuda for tensor in given + made):
            self.stream.operations.append(str(function))
            ahead = function is torch.ops.aten._to_copy.default and options.get("non_blocking")
            from_cpu = [tensor for tensor in given if tensor.device.type == "cpu" and tensor.dim()]
            to_cpu = any(tensor.device.type == "cpu" for tensor in made)
            if (to_cpu and not ahead) or any(not (ahead and _is_pinned(tensor)) for tensor in from_cpu):
                self.waits.append(str(function))
        return result

    @contextmanager
    def in_stream(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    def array(self, tensor: torch.Tensor) -> np.ndarray:
        assert tensor.device.type == "cpu", "an array of a tensor on the GPU"
        value = self.values.get(tuple(tensor.shape), tensor.dtype == torch.bool)
        return np.full(tensor.shape, value, NUMPY_TYPES[tensor.dtype])


@contextmanager
def fake_gpu() -> Iterator[FakeGPU]:
    """Within it "cuda" is a fake GPU. Modules made before can be moved there, and are of no other use afterwards."""
    gpu = FakeGPU()
    with ExitStack() as inside:
        for name, replacement in {
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda *arguments: True,
            "torch.cuda.Stream": Stream,
            "torch.cuda.stream": gpu.in_stream,
            "torch.cuda.current_stream": lambda device=None: gpu.stream,
            "torch.cuda.mem_get_info": lambda device=None: (2**40, 2**40),
            "torch.cuda.memory_reserved": lambda device=None: 0,
            "torch.cuda.memory_allocated": lambda device=None: 0,
            "torch.Tensor.record_stream": lambda tensor, stream: stream.kept.append(tuple(tensor.shape)),
            "torch.Tensor.pin_memory": _pinned,
            "torch.Tensor.numpy": lambda tensor: gpu.array(tensor),
            "torch.nn.Module.to": _moved,
        }.items():
            inside.enter_context(mock.patch(name, replacement))
        inside.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        inside.enter_context(gpu)
        yield gpu


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone()
    copy.is_pinned_here = True
    return copy


def _is_pinned(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "is_pinned_here", False)


def _moved(module: torch.nn.Module, device: object) -> torch.nn.Module:
    """Module.to, which cannot exchange a parameter for one on a fake device."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(parameter.to(device), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device)
    return module
