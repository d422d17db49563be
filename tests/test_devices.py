"""Precision, copies, and what happens when memory runs out: on the CPU, where memory runs out by exceptions."""

import threading
from itertools import cycle

import numpy as np
import pytest
import torch
from fake_gpu import fake_gpu
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from fourd_humans.devices import (
    Batches,
    choose_dtype,
    compile_module,
    constant,
    download,
    float32_convolutions,
    pixels_on,
    upload,
    upload_images,
)
from fourd_humans.errors import FourDHumansError

CPU = torch.device("cpu")


def test_auto_is_bfloat16_on_cuda_alone():
    assert choose_dtype("auto", torch.device("cuda:1")) == torch.bfloat16
    assert choose_dtype("auto", CPU) == choose_dtype("auto", torch.device("mps")) == torch.float32
    assert choose_dtype("float32", torch.device("cuda")) == torch.float32


def test_convolutions_leave_tf32_and_come_back_to_it():
    before = torch.backends.cudnn.allow_tf32
    assert before, "torch's default"
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with float32_convolutions():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with float32_convolutions():
        thread.start()
        inside.wait(10)
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.allow_tf32, "the other thread is still inside"
    leave.set()
    thread.join()
    assert torch.backends.cudnn.allow_tf32 == before


def test_copies_to_a_device_and_back():
    images = [np.random.default_rng(i).integers(0, 256, (3 + i, 5, 3), dtype=np.uint8) for i in range(3)]
    for image, copy in zip(images, upload_images(images, CPU), strict=True):
        np.testing.assert_array_equal(copy, image)
        assert pixels_on(image, copy, CPU) is copy
    elsewhere = torch.empty(images[0].shape, dtype=torch.uint8, device="meta")
    np.testing.assert_array_equal(pixels_on(images[0], elsewhere, CPU), images[0])
    np.testing.assert_array_equal(download({"x": upload(images[0], CPU)})["x"], images[0])


def limited(most: int, tried: list[int]):
    """Doubles numbers, as long as there are not too many of them."""

    def work(items):
        tried.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError
        return [2 * item for item in items]

    return work


def test_batches_are_halved_and_stay_so(caplog):
    batches, tried = Batches(8, "people", "buy memory"), []
    results = batches.run(range(10), limited(3, tried))
    assert [value for part in results for value in part] == list(range(0, 20, 2))
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert "4 people at once" in caplog.text
    batches.run(range(4), limited(3, tried))
    assert tried[7:] == [2, 2]


def test_memory_without_room_for_one_is_said():
    with pytest.raises(FourDHumansError, match="even one of the people: buy memory"):
        Batches(8, "people", "buy memory").run(range(3), limited(0, []))


def test_a_stage_that_finds_the_memory_full_of_others_has_it_alone():
    """The other stage is at work when the first try fails; the second waits for its end, at the same size."""
    begun, failed = threading.Event(), threading.Event()
    order: list[str] = []

    def other(items):
        begun.set()
        failed.wait(10)
        order.append("other has ended")
        return items

    thread = threading.Thread(target=lambda: Batches(1, "frames", "").run([0], other))

    def work(items):
        if not failed.is_set():
            thread.start()
            begun.wait(10)
            failed.set()
            raise torch.OutOfMemoryError
        order.append(f"{len(items)} alone")
        return items

    batches = Batches(4, "people", "")
    assert batches.run(range(4), work) == [range(4)]
    thread.join()
    assert order == ["other has ended", "4 alone"]
    assert batches.size == 4


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_libraries_say_in_their_own_words_that_memory_is_full(words):
    def work(items):
        if len(items) > 1:
            raise RuntimeError(words)
        return list(items)

    assert Batches(2, "frames", "").run([1, 2], work) == [[1], [2]]


def test_other_errors_are_raised():
    def work(items):
        raise RuntimeError("the size of tensor a must match the size of tensor b")

    with pytest.raises(RuntimeError, match="size of tensor a"):
        Batches(2, "frames", "").run([1, 2], work)


def test_a_stage_that_always_finds_the_memory_full_of_others_takes_smaller_batches(caplog):
    """Repeated alone three times, at the price of a second computation each; then the size is halved."""
    begun, stop = threading.Event(), threading.Event()

    def other() -> None:
        while not stop.is_set():
            Batches(1, "frames", "").run([0], lambda items: begun.set())

    thread = threading.Thread(target=other)
    tried, beside_the_other = [], cycle([True, False])

    def work(items):
        tried.append(len(items))
        if len(items) == 4 and next(beside_the_other):
            begun.clear()
            begun.wait(10)
            raise torch.OutOfMemoryError
        return items

    batches = Batches(4, "people", "")
    thread.start()
    batches.run(range(20), work)
    stop.set()
    thread.join()
    assert tried == [4] * 7 + [2] * 4
    assert "2 people at once" in caplog.text


def test_work_that_cannot_be_divided():
    def full():
        raise torch.OutOfMemoryError

    batches = Batches(8, "people", "buy memory")
    assert batches.whole(lambda: 3) == 3
    with pytest.raises(FourDHumansError, match="even one of the people: buy memory"):
        batches.whole(full)


def test_without_a_compiler_a_module_works_as_before(monkeypatch, caplog):
    calls = []

    def compiler(function, **options):
        def compiled(*arguments):
            calls.append(arguments)
            raise RuntimeError("Failed to find C compiler. Please specify via CC.\nmore")

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    module, x = torch.nn.Linear(2, 3), torch.ones(1, 2)
    expected = module(x)
    compile_module(module)
    for _ in range(2):
        torch.testing.assert_close(module(x), expected)
    assert len(calls) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "torch.compile fails here and is left out: Failed to find C compiler. Please specify via CC."
    ]


def test_a_compiled_module_that_runs_out_of_memory_stays_compiled(monkeypatch):
    sizes = []

    def compiler(function, **options):
        def compiled(x):
            sizes.append(len(x))
            if len(x) > 1:
                raise torch.OutOfMemoryError
            return function(x)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    module = torch.nn.Linear(2, 3)
    compile_module(module)
    Batches(2, "frames", "").run([0, 1], lambda items: module(torch.ones(len(items), 2)))
    assert sizes == [2, 1, 1]


def test_a_system_that_torch_cannot_compile_for(monkeypatch, caplog):
    def compiler(function, **options):
        raise RuntimeError("torch.compile is not supported on Python 4")

    monkeypatch.setattr(torch, "compile", compiler)
    module = torch.nn.Linear(2, 3)
    compile_module(module)
    module(torch.ones(1, 2))
    assert "not supported on Python 4" in caplog.text


# What the tests of the stages rely on.


@pytest.mark.parametrize(
    "work",
    [
        lambda x: torch.zeros(3).to("cuda"),
        lambda x: torch.zeros(3).to("cuda", non_blocking=True),  # from memory that is not pinned
        lambda x: x.cpu(),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x[[0, 1]],
    ],
)
def test_a_fake_gpu_counts_copies_that_wait(work):
    with fake_gpu() as gpu, torch.inference_mode():
        x = torch.empty(3, 4, device="cuda")
        assert gpu.waits == []
        work(x)
        assert len(gpu.waits) == 1


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: torch.equal(x, x),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.sum(1).tolist(),
    ],
)
def test_a_fake_gpu_refuses_what_needs_values(work):
    with fake_gpu(), torch.inference_mode(), pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        work(torch.empty(3, 4, device="cuda"))


def test_a_fake_gpu_refuses_tensors_of_two_devices():
    with fake_gpu(), torch.inference_mode(), pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        torch.empty(3, 4, device="cuda") + torch.zeros(4)


def test_copies_and_constants_do_not_wait_for_a_fake_gpu():
    gpu_device = torch.device("cuda")
    with fake_gpu() as gpu, torch.inference_mode():
        x = upload(np.ones((2, 3), np.float32), gpu_device)
        (image,) = upload_images([np.zeros((4, 5, 3), np.uint8)], gpu_device)
        constant([[1, 2], [3, 4]], gpu_device)
        with torch.autocast("cuda", torch.bfloat16):
            assert (x @ x.mT).dtype == torch.bfloat16
        assert gpu.waits == []
        assert gpu.stream.waits == 0
        assert download({"x": x, "image": image})["image"].shape == (4, 5, 3)
        assert gpu.waits == []
        assert gpu.stream.waits == 1
