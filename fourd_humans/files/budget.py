"""What reading a file may cost: limits that follow from the file's size."""

from __future__ import annotations

from fourd_humans.errors import FourDHumansError

MEGABYTE = 1 << 20
MEMORY_PER_BYTE = 16  # honest files need about 5: the rest is for what readers make of the contents
SPARE_MEMORY = 160 * MEGABYTE
UNPACKED_PER_BYTE = 40  # compressed results of an empty scene reach 25
SPARE_UNPACKED = 96 * MEGABYTE
STEPS_PER_BYTE = 8  # opcodes of a pickle; compressed results of an empty scene reach 5
SPARE_STEPS = 8_000_000
MAX_PEOPLE = 500  # in one frame; no published dataset has more than about 300


class TooLargeError(ValueError):
    """Reading the file would take more memory or time than its size justifies."""


class Budget:
    """Memory, decompressed bytes and steps of work that a file of `size` bytes may still use.

    Numbers are estimates of what Python's objects take; the limits leave room for them to be wrong by half.
    item: memory that the item of a dictionary takes which was just read, and which was given back.
    """

    item = 0

    def __init__(self, size: int) -> None:
        self.memory = MEMORY_PER_BYTE * size + SPARE_MEMORY
        self.unpacked = UNPACKED_PER_BYTE * size + SPARE_UNPACKED
        self.steps = STEPS_PER_BYTE * size + SPARE_STEPS

    def spend(self, memory: int) -> None:
        """Raises: TooLargeError where it is used up."""
        self.memory -= memory
        if self.memory < 0:
            raise TooLargeError("it would take far more memory than a file of its size should")

    def unpack(self, count: int) -> None:
        """Raises: TooLargeError where `count` more decompressed bytes are too many."""
        self.unpacked -= count
        if self.unpacked < 0:
            raise TooLargeError("it decompresses to far more than a file of its size should")

    def step(self, count: int) -> None:
        """Raises: TooLargeError where `count` more steps are too many."""
        self.steps -= count
        if self.steps < 0:
            raise TooLargeError("it would take far more time than a file of its size should")


def one_line(error: BaseException | str, length: int = 120) -> str:
    """The message of an error, on one line and not too long; the error's class where it has none."""
    text = "".join(c if c.isprintable() else " " for c in str(error)[: 4 * length])
    return " ".join(text.split())[:length] or type(error).__name__


def damaged(path: object, what: str, error: BaseException) -> FourDHumansError:
    """The refusal of a file that is not the `what` it should be."""
    return FourDHumansError(f"cannot read {path}: it is damaged or not {what} ({one_line(error)})")
