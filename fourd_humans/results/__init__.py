"""The answer in files: written frame by frame in the released layout, and read back."""

from fourd_humans.results.store import ResultWriter, load_tracklets
from fourd_humans.results.tracklets import Tracklet, Tracklets

__all__ = ["ResultWriter", "Tracklet", "Tracklets", "load_tracklets"]
