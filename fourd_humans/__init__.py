"""4DHumans: people in video, found, recovered in 3D, and followed through occlusion.

>>> import fourd_humans
>>> result = fourd_humans.track("video.mp4", render=True)  # files, as the command does
>>> tracklets = fourd_humans.load_tracklets(result.results)
>>> for frame in fourd_humans.Pipeline().run("video.mp4"):  # or frame by frame
...     print(frame.index, frame.ids)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["HMR2", "BodyModel", "Pipeline", "Tracklets", "load_tracklets", "track"]

if TYPE_CHECKING:
    from fourd_humans.body.model import BodyModel
    from fourd_humans.pipeline import Pipeline
    from fourd_humans.recovery.hmr2.model import HMR2
    from fourd_humans.results.store import load_tracklets
    from fourd_humans.run import track
    from fourd_humans.tracklets import Tracklets

_HOMES = {
    "HMR2": "recovery.hmr2.model",
    "BodyModel": "body.model",
    "Pipeline": "pipeline",
    "Tracklets": "tracklets",
    "load_tracklets": "results.store",
    "track": "run",
}


def __getattr__(name: str) -> Any:
    """The public names are imported when they are first used: importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fourd_humans' has no attribute '{name}'")
    return getattr(importlib.import_module(f"fourd_humans.{_HOMES[name]}"), name)
