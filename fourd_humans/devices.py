"""What the networks' stages share of their device: precision, copies that do not wait, streams, and its memory.

A stage copies what it needs to the device, runs, and copies its results back once, at the end. In between nothing waits
for the device, so that it is never idle while Python prepares the next step.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fourd_humans.errors import FourDHumansError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_REPEATED = 3  # batches that are repeated alone before smaller ones are tried beside the other stages


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


def own_stream(device: torch.device, stage: int) -> torch.cuda.Stream | None:
    """A CUDA stream for one stage, so that stages do not wait for each other's work; None on other devices.

    stage: 0 for the first of the chain, 1 for the next. Later ones go first: their small kernels would wait behind the
    first one's large kernels, and they cannot starve it, since they live on its results.
    """
    return torch.cuda.Stream(device, priority=-stage) if device.type == "cuda" else None


@contextmanager
def in_stream(stream: torch.cuda.Stream | None) -> Iterator[torch.cuda.Stream | None]:
    """Work of this thread goes to the stream, if there is one."""
    with torch.cuda.stream(stream) if stream is not None else nullcontext():
        yield stream


def compile_module(module: nn.Module) -> None:
    """Let torch.compile make calls of `module` faster, for a few sizes of its inputs: each is compiled by itself.

    It needs a C compiler, and Triton on a GPU. Where it fails, the module works as before, after one warning.
    """
    plain = module.forward

    def give_up(error: Exception) -> None:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("torch.compile fails here and is left out: %s", reason)
        module.forward = plain

    def forward(*arguments: Any) -> Any:
        try:
            return compiled(*arguments)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            give_up(error)
        return plain(*arguments)

    try:
        compiled = torch.compile(plain, dynamic=False)
        module.forward = forward
    except RuntimeError as error:  # it does not know this Python or this system
        give_up(error)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device's memory is full, in torch's words or those of CUDA's libraries."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and re.search("out of memory|can't allocate memory|_STATUS_NOT_INITIALIZED|_STATUS_[A-Z_]*ALLOC", str(error))
        is not None
    )


class _SharedMemory:
    """A device's memory, which several stages use at a time: who finds it full may wait to have it alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work = self._begun = 0
        self._taken = False

    @contextmanager
    def shared(self) -> Iterator[Callable[[], bool]]:
        """Gives what tells whether others have been at work meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken)
            self._at_work += 1
            self._begun += 1
            others, begun = self._at_work > 1, self._begun
        try:
            yield lambda: others or self._begun > begun
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


# One for the process, as the memory itself: its stages do not know of one another.
_memory = _SharedMemory()


class Batches:
    """Sends items through a network in batches that the device's memory holds.

    Where it does not hold a batch while other stages are at work, the batch is repeated alone, so that a stage does not
    suffer for another one's size. Where it still does not, or where that happens again and again, the batch size is
    halved for good.

    size: of a batch at first. what: goes through, as "frames". advice: what to set where not even one fits.
    """

    def __init__(self, size: int, what: str, advice: str) -> None:
        self.size, self._what, self._advice = size, what, advice
        self._repeated = 0

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
                raise self._nothing_fits()
            else:
                self.size = len(batch) // 2
                self._repeated = 0
                log.warning("the device's memory is full: %d %s at once from now on", self.size, self._what)
        return results

    def whole(self, work: Callable[[], Result]) -> Result:
        """`work` that cannot be divided. Raises: as `run`."""
        result = self._fitted((), lambda _: work())
        if result is None:
            raise self._nothing_fits()
        return result[0]

    def _nothing_fits(self) -> FourDHumansError:
        return FourDHumansError(f"the device's memory does not hold even one of the {self._what}: {self._advice}")

    def _fitted(self, batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result] | None:
        """The result, in a list, or None where there is no memory for it."""
        with _memory.shared() as crowded:
            result = _attempt(batch, work)
            if result is not None or not crowded():
                return result
        self._repeated += 1
        if self._repeated > MOST_REPEATED and len(batch) > 1:
            return None
        with _memory.alone():
            return _attempt(batch, work)


def _attempt(batch: Sequence[Item], work: Callable[[Sequence[Item]], Result]) -> list[Result] | None:
    """The result, in a list, or None where there is no memory for it."""
    try:
        return [work(batch)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the clause: the exception holds on to all that was computed so far.
    torch.cuda.empty_cache()  # what torch keeps for later is missing to CUDA's libraries
    return None
