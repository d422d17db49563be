"""What can be downloaded, where it lives, how it is checked and loaded."""

from fourd_humans.checkpoints.store import find, installed

__all__ = ["find", "installed"]
