"""Refines tracked frames as they come, in windows of each person's track, with bounded memory and delay."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from fourd_humans.motion.refinement import Window
from fourd_humans.people import Bodies, Float, TrackedFrame, concatenate

log = logging.getLogger(__name__)

# (window, frame_rate, betas, the window before) -> the window's bodies; see `refinement.Refinement`
Refine = Callable[..., Bodies]

WINDOW = 64  # frames of a track that are refined at once
LOOKAHEAD = 16  # frames after them that are looked at, too
MOST_THREADS = 4  # that refine people at the same time


@dataclass
class _UnrefinedFrame:
    """A frame whose people are not all refined yet, with their bodies and boxes, row by row, as they are by now."""

    frame: TrackedFrame
    bodies: list[Bodies]
    boxes: Float


@dataclass
class _UnrefinedTrack:
    """The rows of a person (a frame and a row of it) that wait to be refined, and the refined ones before them."""

    rows: list[tuple[_UnrefinedFrame, int]] = field(default_factory=list)
    previous: Window | None = None


REFINEMENT_CLASSES = (Window, _UnrefinedFrame, _UnrefinedTrack)


class RefinementBuffer:
    """Tracked frames in, the same frames with refined bodies out, in order.

    A track is refined `WINDOW` frames at a time, with `LOOKAHEAD` frames more that are refined again in the next
    window, so no frame waits for more than WINDOW + LOOKAHEAD later ones. A window continues the movement of the one
    before. The shape is found in the first window of an identity and kept from then on. A track ends at a cut and where
    a frame comes without the person, but not at a frame with an `error`.

    refine: see `refinement.Refinement`. frame_rate: frames a second.
    max_age: frames without the person, not counting those with an `error`, after which an identity does not come back,
        so that its shape need not be kept; by default it may always do so.
    """

    def __init__(self, refine: Refine, frame_rate: float, *, max_age: float = math.inf) -> None:
        self._refine, self._frame_rate, self._max_age = refine, frame_rate, max_age
        self._threads = min(torch.get_num_threads(), MOST_THREADS)
        self._waiting: deque[_UnrefinedFrame] = deque()
        self._tracks: dict[int, _UnrefinedTrack] = {}
        self._betas: dict[int, Float] = {}
        self._absent: dict[int, int] = {}  # of each identity in `_betas`, the frames since it was there

    def add(self, frame: TrackedFrame) -> list[TrackedFrame]:
        """Take the next frame; return those that are refined now."""
        waiting = _UnrefinedFrame(
            frame, [frame.bodies[row] for row in range(len(frame))], frame.detections.boxes.copy()
        )
        self._waiting.append(waiting)
        ended = [id for id, track in self._tracks.items() if _ends(track, frame)]
        self._refine_tracks({id: len(self._tracks[id].rows) for id in ended})
        for id in ended:
            del self._tracks[id]
        full = []
        for row, id in enumerate(frame.ids.tolist()):
            track = self._tracks.setdefault(id, _UnrefinedTrack())
            track.rows.append((waiting, row))
            if len(track.rows) == WINDOW + LOOKAHEAD:
                full.append(id)
        self._refine_tracks(dict.fromkeys(full, WINDOW))
        if frame.error is None:
            self._forget(frame)
        return self._release()

    def finish(self) -> list[TrackedFrame]:
        """The end of the video: refine what is left."""
        self._refine_tracks({id: len(track.rows) for id, track in self._tracks.items()})
        self._tracks.clear()
        return self._release()

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here in another process; of the classes in `REFINEMENT_CLASSES` and those
        of tracked frames."""
        return {"waiting": self._waiting, "tracks": self._tracks, "betas": self._betas, "absent": self._absent}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another buffer with the same settings was."""
        self._waiting, self._tracks = state["waiting"], state["tracks"]
        self._betas, self._absent = state["betas"], state["absent"]

    def _refine_tracks(self, counts: Mapping[int, int]) -> None:
        """Refine all rows of tracks, of which the first `counts` are then done; each person in a thread."""
        if not counts:
            return
        windows = {id: _window(self._tracks[id]) for id in counts}
        with ThreadPoolExecutor(self._threads, "refinement", torch.set_num_threads, (1,)) as pool:
            refined = dict(zip(windows, pool.map(self._refined, windows, windows.values()), strict=True))
        torch.set_num_threads(torch.get_num_threads())  # for threads to come, which would take over the pool's one
        for id, count in counts.items():
            track, window, bodies = self._tracks[id], windows[id], refined[id]
            if bodies is None:
                bodies = window.bodies
            else:
                self._betas[id] = bodies.betas[0]
            for i, (waiting, row) in enumerate(track.rows[:count]):
                if not window.observed[i]:  # the box of a detection stays
                    waiting.boxes[row] += _shift(window.bodies.joints_2d[i], bodies.joints_2d[i])
                waiting.bodies[row] = replace(bodies[i], texture=waiting.bodies[row].texture)
            track.previous = Window(window.frames[:count], bodies[:count], window.observed[:count])
            del track.rows[:count]

    def _refined(self, id: int, window: Window) -> Bodies | None:
        """The bodies of a window, or None where they cannot be refined."""
        try:
            return self._refine(window, self._frame_rate, betas=self._betas.get(id), previous=self._tracks[id].previous)
        except np.linalg.LinAlgError as error:
            log.warning("person %d is not refined from frame %d on: %s", id, window.frames[0], error)
            return None

    def _forget(self, frame: TrackedFrame) -> None:
        """Drop the shapes of identities that do not come back after this frame."""
        present = set(frame.ids.tolist())
        self._absent = {id: 0 if id in present else self._absent.get(id, 0) + 1 for id in self._betas}
        for id in [id for id, frames in self._absent.items() if frames > self._max_age]:
            del self._betas[id], self._absent[id]

    def _release(self) -> list[TrackedFrame]:
        first = min((track.rows[0][0].frame.index for track in self._tracks.values() if track.rows), default=np.inf)
        released = []
        while self._waiting and self._waiting[0].frame.index < first:
            waiting = self._waiting.popleft()
            if waiting.bodies:
                detections = replace(waiting.frame.detections, boxes=waiting.boxes)
                released.append(replace(waiting.frame, bodies=concatenate(waiting.bodies), detections=detections))
            else:
                released.append(waiting.frame)
        return released


def refine_frames(frames: Iterable[TrackedFrame], refine: Refine, frame_rate: float) -> list[TrackedFrame]:
    """All frames of a video, refined.

    refine, frame_rate: see `RefinementBuffer`.
    """
    buffer = RefinementBuffer(refine, frame_rate)
    return [refined for frame in frames for refined in buffer.add(frame)] + buffer.finish()


def _ends(track: _UnrefinedTrack, frame: TrackedFrame) -> bool:
    """Whether a track has no part in a frame and those after it."""
    waiting, row = track.rows[-1]
    if frame.is_cut or frame.index - waiting.frame.index > LOOKAHEAD:
        return True
    return frame.error is None and waiting.frame.ids[row] not in frame.ids


def _window(track: _UnrefinedTrack) -> Window:
    frames = [waiting.frame for waiting, _ in track.rows]
    detections = concatenate([replace(waiting.frame.detections[row], rejected=[]) for waiting, row in track.rows])
    masks = [frame.detections.masks or [] for frame in frames]
    return Window(
        frames=np.array([frame.index for frame in frames]),
        bodies=concatenate([replace(waiting.bodies[row], texture=None) for waiting, row in track.rows]),
        observed=np.array([waiting.frame.time_since_seen[row] == 0 for waiting, row in track.rows]),
        keypoints=detections.keypoints,
        masks=detections.masks,
        other_masks=[
            [mask for other, mask in enumerate(present) if mask is not None and other != row]
            for present, (_, row) in zip(masks, track.rows, strict=True)
        ],
    )


def _shift(before: Float, after: Float) -> Float:
    """(4,) how far the sides of the box around joints (45, 2) move."""
    return np.concatenate([after.min(0) - before.min(0), after.max(0) - before.max(0)])
