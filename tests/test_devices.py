"""Precision, copies, and what happens when memory runs out: on the CPU, where memory runs out by exceptions."""

import threading

import numpy as np
import pytest
import torch

from fourd_humans.devices import (
    Batches,
    choose_dtype,
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
