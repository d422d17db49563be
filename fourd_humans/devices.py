"""What the networks' stages share of their device: precision, copies that do not wait, streams, and its memory.

A stage copies what it needs to the device, runs, and copies its results back once, at the end. In between nothing waits
for the device, so that it is never idle while Python prepares the next step.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.errors import FourDHumansError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of a precision's name. auto: bfloat16 on CUDA GPUs, float32 elsewhere."""
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Matrix products in `dtype`; of float32, the same as without."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


class _Float32Convolutions:
    """Counts the threads inside, since cuDNN's switch is one for all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: bool | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """float32 convolutions in float32, and not in TF32, which cuDNN takes by default.

        The switch is set back when the last thread leaves. Nothing else is touched: matrix products take TF32 only
        where somebody has asked torch for it, and so do convolutions where its newer, finer switches have been used.
        """
        with self._lock:
            if not self._inside:
                self._before = _cudnn_allows_tf32()
                if self._before:
                    torch.backends.cudnn.allow_tf32 = False
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._before:
                    torch.backends.cudnn.allow_tf32 = True


def _cudnn_allows_tf32() -> bool | None:
    """None where kinds of operations have been set one by one: torch then refuses to answer for all."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


float32_convolutions = _Float32Convolutions()


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """A copy of an array on the device, made without waiting for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def constant(values: Sequence[Any], device: torch.device) -> Tensor:
    """A few numbers, in one or two dimensions, as a float32 tensor that the device writes itself."""
    rows = [constant(v, device) if isinstance(v, Sequence) else torch.full((), float(v), device=device) for v in values]
    return torch.stack(rows)


def download(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Copies of tensors of one device as arrays. Waits once, for all of them and for the stream that makes them."""
    copies = {name: tensor.to("cpu", non_blocking=True) for name, tensor in tensors.items()}
    on_cuda = next((tensor.device for tensor in tensors.values() if tensor.is_cuda), None)
    if on_cuda is not None:
        torch.cuda.current_stream(on_cuda).synchronize()
    return {name: copy.numpy() for name, copy in copies.items()}


def upload_images(images: Sequence[NDArray[np.uint8]], device: torch.device, *, wait: bool = False) -> list[Tensor]:
    """Pictures (H, W, 3) of any sizes as tensors on the device, through one pinned buffer and one copy.

    wait: until the copy is complete, so that other streams than the current one may read it.
    """
    sizes = [image.size for image in images]
    buffer = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")
    for image, part in zip(images, buffer.split(sizes), strict=True):
        np.copyto(part.numpy().reshape(image.shape), image)
    copied = buffer.to(device, non_blocking=True)
    if wait and copied.is_cuda:
        torch.cuda.current_stream(device).synchronize()
    return [part.view(image.shape) for image, part in zip(images, copied.split(sizes), strict=True)]


def pixels_on(image: NDArray[np.uint8], uploaded: Tensor | None, device: torch.device) -> Tensor:
    """A picture (H, W, 3) on the device: `uploaded`, which is shared by several stages, if it lies there; or a copy."""
    if uploaded is None or uploaded.device.type != device.type or device.index not in (None, uploaded.device.index):
        return upload_images([image], device)[0]
    if uploaded.is_cuda:  # its memory must not be used again before this stream has read it
        uploaded.record_stream(torch.cuda.current_stream(device))
    return uploaded


def own_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A CUDA stream for one stage, so that stages do not wait for each other's work; None on other devices."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


@contextmanager
def in_stream(stream: torch.cuda.Stream | None) -> Iterator[torch.cuda.Stream | None]:
    """Work of this thread goes to the stream, if there is one."""
    with torch.cuda.stream(stream) if stream is not None else nullcontext():
        yield stream


class _SharedMemory:
    """A device's memory, which several stages use at a time: who finds it full may wait to have it alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work = 0
        self._taken = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._taken = True
            self._changed.wait_for(lambda: not self._at_work)
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def has_others(self) -> bool:
        """Whether others than the caller, who has it shared, are at work."""
        return self._at_work > 1


# One for the process, as the memory itself: its stages do not know of one another.
_memory = _SharedMemory()


class Batches:
    """Sends items through a network in batches that the device's memory holds.

    Where it does not hold a batch while other stages are at work, the batch is repeated alone, so that a stage does not
    suffer for another one's size. Where it still does not, the batch size is halved for good.

    size: of a batch at first. what: goes through, as "frames". advice: what to set where not even one fits.
    """

    def __init__(self, size: int, what: str, advice: str) -> None:
        self.size, self._what, self._advice = size, what, advice

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result]:
        """`work` on all items: its results, one for each batch.

        Raises: FourDHumansError where memory does not hold a single item.
        """
        results: list[Result] = []
        done = 0
        while done < len(items):
            batch = items[done : done + self.size]
            result = self._fitted(batch, work)
            if result is not None:
                results += result
                done += len(batch)
            elif len(batch) == 1:
                raise FourDHumansError(
                    f"the device's memory does not hold even one of the {self._what}: {self._advice}"
                )
            else:
                self.size = len(batch) // 2
                log.warning("the device's memory is full: %d %s at once from now on", self.size, self._what)
        return results

    def _fitted(self, batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result] | None:
        """The result, in a list, or None where there is no memory for it."""
        with _memory.shared():
            try:
                return [work(batch)]
            except torch.OutOfMemoryError:
                crowded = _memory.has_others()
        # Outside of the clause: the exception holds on to all that was computed so far.
        if not crowded:
            return None
        with _memory.alone():
            try:
                return [work(batch)]
            except torch.OutOfMemoryError:
                return None
