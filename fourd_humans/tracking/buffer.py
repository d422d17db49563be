"""A fixed-lag buffer: collects a tracker's records and releases frames once they are final.

A track is confirmed some frames after it begins, and its first frames are then filled in behind; a hidden person's
body is filled in from both sides only once they are seen again. So frames wait here, without their pictures, until
both are final: a handful of frames as long as everybody is seen, and at most ``max_age + context`` of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.motion.completion import boxes_around
from fourd_humans.people import Bodies, Detections, Frame, TrackedFrame, concatenate
from fourd_humans.tracking.tracker import TrackRecord

# (frames seen (K,), the bodies there (K rows), frames missing (M,)) -> the bodies there (M rows)
Complete = Callable[[NDArray[np.int64], Bodies, NDArray[np.int64]], Bodies]


@dataclass
class _Waiting:
    """A frame that is not final yet, with its records by identity."""

    frame: TrackedFrame
    records: dict[int, TrackRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class _Gap:
    """Frames `start` < t < `end` in which a person was hidden, both ends being observations."""

    id: int
    start: int
    end: int


BUFFER_CLASSES = (TrackedFrame, _Waiting, _Gap)
"""What the state of the buffer consists of beside that of a tracker, for `files.state`."""


@dataclass
class FixedLagBuffer:
    """Takes frames and records; returns final `TrackedFrame`s, in order.

    min_hits: the tracker's; a new track is filled in behind by at most that many frames.
    complete: fills in hidden people between two observations and marks them -1; records after a person's last
        observation are then removed, for nothing shows that the person is still there. With None, the tracker's own
        predictions stay, as in the released code.
    context: frames that `complete` may look at on either side of a gap.
    """

    min_hits: int
    complete: Complete | None = None
    context: int = 32
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _recent: dict[int, deque[TrackRecord]] = field(default_factory=dict)
    _gaps: list[_Gap] = field(default_factory=list)
    _updated: deque[int] = field(default_factory=deque)

    def add(self, frame: TrackedFrame, records: Sequence[TrackRecord]) -> list[TrackedFrame]:
        """Take a frame (its people still empty) with the tracker's records; return the frames that are final now.

        A frame that could not be read or processed has an `error` and no records: nobody's track ends in it.
        """
        self._waiting[frame.index] = _Waiting(frame)
        if frame.error is not None:
            return self._release()
        self._updated.append(frame.index)
        while len(self._updated) > self.min_hits:
            self._updated.popleft()
        for record in sorted(records, key=lambda r: r.frame):
            self._add_record(record)
        for id in set(self._recent) - {record.id for record in records if record.frame == frame.index}:
            self._end(id)
        self._close_gaps(frame.index - self.context)
        return self._release()

    def finish(self) -> list[TrackedFrame]:
        """The end of the video: all frames are final."""
        self._close_gaps(np.inf)
        for id in list(self._recent):
            self._end(id)
        return self._release(everything=True)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here in another process; of the classes in `BUFFER_CLASSES`."""
        return {"waiting": self._waiting, "recent": self._recent, "gaps": self._gaps, "updated": self._updated}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another buffer with the same settings was."""
        self._waiting, self._recent = state["waiting"], state["recent"]
        self._gaps, self._updated = state["gaps"], state["updated"]

    def _add_record(self, record: TrackRecord) -> None:
        waiting = self._waiting.get(record.frame)
        if waiting is None:  # a frame that had been left out
            return
        waiting.records[record.id] = record
        if record.time_since_seen:
            return
        recent = self._recent.setdefault(record.id, deque(maxlen=2 * self.context))
        if self.complete and recent and record.frame > recent[-1].frame + 1:
            self._gaps.append(_Gap(record.id, recent[-1].frame, record.frame))
        recent.append(record)

    def _end(self, id: int) -> None:
        """The track is gone. Where people are completed, it ends with its last observation."""
        self._close_gaps(np.inf, id)  # while the observations at both ends are still known
        last = self._recent.pop(id)[-1].frame
        if self.complete is None:
            return
        for index, waiting in self._waiting.items():
            if index > last:
                waiting.records.pop(id, None)

    def _close_gaps(self, until: float, id: int | None = None) -> None:
        """Complete the gaps that end at or before frame `until` (of one person, where `id` is given)."""
        ready = [gap for gap in self._gaps if gap.end <= until and id in (None, gap.id)]
        self._gaps = [gap for gap in self._gaps if gap not in ready]
        for gap in ready:
            self._fill(gap)

    def _fill(self, gap: _Gap) -> None:
        assert self.complete is not None
        missing = [t for t in sorted(self._waiting) if gap.start < t < gap.end]
        if any(self._waiting[t].frame.is_cut for t in [*missing, gap.end]):  # bodies are not completed across a cut
            for t in missing:
                self._waiting[t].records.pop(gap.id, None)
            return
        seen = {r.frame: r for r in self._recent.get(gap.id, ())}
        seen |= {t: w.records[gap.id] for t, w in self._waiting.items() if gap.id in w.records}
        observed = sorted(t for t, r in seen.items() if r.time_since_seen == 0)
        observed = [t for t in observed if gap.start - self.context <= t <= gap.end + self.context]
        if not missing:
            return
        bodies = self.complete(
            np.array(observed), concatenate([seen[t].body for t in observed]), np.array(missing, dtype=np.int64)
        )
        ends = [seen[gap.start], seen[gap.end]]
        end_boxes = np.concatenate([end.detection.boxes for end in ends])
        boxes = boxes_around(bodies, concatenate([end.body for end in ends]), end_boxes)
        for i, t in enumerate(missing):
            detection = Detections(boxes[i : i + 1], np.zeros(1, np.float32))
            template = self._waiting[t].records.get(gap.id, seen[gap.start])
            self._waiting[t].records[gap.id] = replace(
                template, frame=t, time_since_seen=-1, detection=detection, body=bodies[i]
            )

    def _release(self, everything: bool = False) -> list[TrackedFrame]:
        """Frames before the first one that a confirmation, a gap or a hidden person may still change."""
        bound: float = self._updated[0] if len(self._updated) >= self.min_hits else -1
        if self.complete is not None:
            hidden = [recent[-1].frame + 1 for recent in self._recent.values()]
            bound = min([bound, *(gap.start + 1 for gap in self._gaps), *hidden])
        final = sorted(t for t in self._waiting if everything or t < bound)
        return [_assemble(self._waiting.pop(t)) for t in final]


def _assemble(waiting: _Waiting) -> TrackedFrame:
    """The frame with its people in the order of their identities."""
    records = [waiting.records[id] for id in sorted(waiting.records)]
    if not records:
        return waiting.frame
    changes: dict[str, Any] = {
        "ids": np.array([r.id for r in records]),
        "time_since_seen": np.array([r.time_since_seen for r in records]),
        "detections": replace(concatenate([r.detection for r in records]), rejected=waiting.frame.detections.rejected),
        "bodies": concatenate([r.body for r in records]),
        "predicted_pose": np.stack([r.predicted_pose for r in records]),
        "predicted_location": np.stack([r.predicted_location for r in records]),
    }
    return replace(waiting.frame, **changes)


def empty_frame(frame: Frame, shape_space: str, *, is_cut: bool = False, error: str | None = None) -> TrackedFrame:
    """A frame of the results without people."""
    return TrackedFrame(
        frame.index, frame.time, frame.name, frame.size, np.zeros(0, np.int64), np.zeros(0, np.int64),
        Detections.empty(), Bodies.empty(shape_space), is_cut=is_cut, error=error,
    )  # fmt: skip
