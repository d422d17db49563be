"""The answer in files: written frame by frame in the released layout, and read back."""

from fourd_humans.results.store import ResultWriter, load_tracklets

__all__ = ["ResultWriter", "load_tracklets"]
