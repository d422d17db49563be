"""Settings of the tracker. The defaults are those of the released tracker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fourd_humans.settings import Integer, Number, Settings, Share


class TrackingSettings(Settings):
    """See `tracking.tracker.Tracker`."""

    history: Annotated[Integer, Field(ge=3, le=1000)] = 7
    """Observations that a track remembers."""
    max_age: Annotated[Integer, Field(ge=0, le=100_000)] = 50
    """Frames that a person may be hidden before the track ends."""
    min_hits: Annotated[Integer, Field(ge=1, le=1000)] = 5
    """Consecutive frames in which a new person must be detected before the track is confirmed."""
    threshold: Annotated[Number, Field(ge=0, le=1e6)] = 100.0
    """Cost above which a detection is not assigned to a track."""
    texture_mixing: Share = 0.1
    """Weight of a new texture in a track's texture, times the squared score of the detection."""
    pose_distance_limit: Annotated[Number, Field(ge=0, le=1e6)] = 1.5
    """Upper limit of the squared pose distance."""
