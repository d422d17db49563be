"""The answer: every frame of a video with the people in it, who they are, and what is known of each over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePath
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.geometry.crops import with_crop_camera
from fourd_humans.people import Bodies, Detections, Float, Shot, TrackedFrame, concatenate, select

Status = Literal["seen", "predicted", "missing"]


@dataclass(frozen=True)
class Tracklet:
    """One person over the T frames that have them, in the order of time.

    frames: (T,) numbers of the frames. times: (T,) seconds.
    time_since_seen: (T,) as in `TrackedFrame`: 0 where the person was detected.
    detections, bodies: T rows. `focal_length` and `principal_point` of the bodies are those of the first frame.
    """

    id: int
    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    time_since_seen: NDArray[np.int64]
    detections: Detections
    bodies: Bodies

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(T,) True where the person was detected, False where hidden and predicted."""
        return self.time_since_seen == 0

    @property
    def boxes(self) -> Float:
        """(T, 4) xyxy in pixels."""
        return self.detections.boxes

    @property
    def scores(self) -> Float:
        """(T,) in 0..1."""
        return self.detections.scores


@dataclass
class Tracklets:
    """All frames of a video and everybody in them.

    A sequence of `TrackedFrame`: iterate over it, or take a frame by number or a part by slice.

    frames: in the order of time. folder: what the frames' paths begin with (see `ResultWriter`).
    complete: whether all frames of the run are there. reason: why not, where that is known (an error, or "stopped").
    made_with: version, settings, weights, body and focal length of the run (see docs/results.md), where they are known.
    shots: what is known of the scene between cuts; empty where a result says nothing of it.

    >>> import numpy as np
    >>> from fourd_humans.people import Bodies, Detections, TrackedFrame
    >>> nobody = np.zeros(0, np.int64)
    >>> empty = TrackedFrame(0, 0.0, "000000", (720, 1280), nobody, nobody, Detections.empty(), Bodies.empty("smpl"))
    >>> tracklets = Tracklets([empty])
    >>> len(tracklets), tracklets.ids.tolist(), tracklets.to_numpy()["joints_3d"].shape
    (1, [], (0, 45, 3))
    """

    frames: list[TrackedFrame]
    folder: str = ""
    complete: bool = True
    reason: str | None = None
    made_with: dict[str, Any] = field(default_factory=dict)
    shots: list[Shot] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[TrackedFrame]:
        return iter(self.frames)

    @overload
    def __getitem__(self, index: int) -> TrackedFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Tracklets: ...

    def __getitem__(self, index: int | slice) -> TrackedFrame | Tracklets:
        """The frame at a place in the list (which need not be its number), or the part that a slice cuts out."""
        return replace(self, frames=self.frames[index]) if isinstance(index, slice) else self.frames[index]

    def between(self, start: float, end: float) -> Tracklets:
        """The frames from `start` to before `end`, in seconds."""
        return replace(self, frames=[frame for frame in self.frames if start <= frame.time < end])

    def only(self, ids: Sequence[int]) -> Tracklets:
        """All frames, with only these people in them."""
        return replace(self, frames=[_rows(frame, np.isin(frame.ids, ids)) for frame in self.frames])

    def seen_only(self) -> Tracklets:
        """All frames, with only the people who were detected in them: nobody hidden and predicted."""
        return replace(self, frames=[_rows(frame, frame.seen) for frame in self.frames])

    @property
    def ids(self) -> NDArray[np.int64]:
        """(P,) the identities, in the order of their numbers."""
        return np.unique(np.concatenate([np.zeros(0, np.int64), *(frame.ids for frame in self.frames)]))

    def person(self, id: int) -> Tracklet:
        """One person over time.

        Raises: KeyError for an id that nobody has.
        """
        found = [(frame, row) for frame in self.frames for row in np.flatnonzero(frame.ids == id)]
        if not found:
            raise KeyError(id)
        return Tracklet(
            id=id,
            frames=np.array([frame.index for frame, _ in found]),
            times=np.array([frame.time for frame, _ in found]),
            time_since_seen=np.array([frame.time_since_seen[row] for frame, row in found]),
            detections=concatenate([frame.detections[int(row)] for frame, row in found]),
            bodies=concatenate([frame.bodies[int(row)] for frame, row in found]),
        )

    def status(self, id: int) -> list[Status]:
        """Of every frame: whether the person is "seen", "predicted" (hidden, filled in) or "missing" there."""
        statuses: list[Status] = []
        for frame in self.frames:
            ages = frame.time_since_seen[frame.ids == id]
            statuses.append("missing" if not len(ages) else "seen" if ages[0] == 0 else "predicted")
        return statuses

    def to_numpy(self) -> dict[str, NDArray[Any]]:
        """Everything as flat arrays with one row for each person in each frame, R in all; ``numpy.savez`` takes them.

        ``frame``, ``time`` (seconds), ``id``, ``time_since_seen``: (R,); ``boxes`` (R, 4), ``scores`` (R,); the arrays
        of `Bodies` by their names, without textures; ``focal_length`` (R,), ``principal_point`` (R, 2);
        ``confidence`` (R,), NaN where the recovery does not tell it.
        """
        counts = [len(frame) for frame in self.frames]
        columns: dict[str, NDArray[Any]] = {
            "frame": np.repeat(np.array([frame.index for frame in self.frames], np.int64), counts),
            "time": np.repeat(np.array([frame.time for frame in self.frames], np.float64), counts),
            "id": np.concatenate([np.zeros(0, np.int64), *(frame.ids for frame in self.frames)]),
            "time_since_seen": np.concatenate([np.zeros(0, np.int64), *(f.time_since_seen for f in self.frames)]),
        }
        detections = [Detections.empty(), *(frame.detections for frame in self.frames)]
        bodies = [Bodies.empty(""), *(frame.bodies for frame in self.frames)]
        bodies = [with_crop_camera(each, found.boxes) for each, found in zip(bodies, detections, strict=True)]
        for name in ("boxes", "scores"):
            columns[name] = np.concatenate([getattr(each, name) for each in detections])
        for name in (f.name for f in fields(Bodies) if isinstance(getattr(bodies[0], f.name), np.ndarray)):
            columns[name] = np.concatenate([getattr(each, name) for each in bodies])
        columns["focal_length"] = np.repeat(np.array([each.focal_length for each in bodies], float), [0, *counts])
        columns["principal_point"] = np.repeat(
            np.array([each.principal_point for each in bodies]), [0, *counts], axis=0
        )
        unknown = [np.full(len(each), np.nan, np.float32) for each in bodies]
        columns["confidence"] = np.concatenate(
            [each.confidence if each.confidence is not None else nan for each, nan in zip(bodies, unknown, strict=True)]
        )
        return columns

    def to_axis_angle(self) -> dict[str, NDArray[Any]]:
        """The body parameters as SMPL's own code takes them, with one row for each person in each frame, R in all.

        ``frame``, ``id``: (R,); ``global_orient`` (R, 3) and ``body_pose`` (R, 69), axis times angle in radians;
        ``betas`` (R, 10), for the body model that `TrackedFrame.bodies.shape_space` names; ``transl`` (R, 3) metres,
        which places the body in the camera frame.
        """
        columns = self.to_numpy()
        rotations = np.concatenate([columns["global_orient"], columns["body_pose"]], axis=1)
        vectors = axis_angle(rotations)
        return {
            "frame": columns["frame"],
            "id": columns["id"],
            "global_orient": vectors[:, :3],
            "body_pose": vectors[:, 3:],
            "betas": columns["betas"],
            "transl": columns["camera"],
        }

    def to_released(self) -> dict[str, dict[str, Any]]:
        """The dict that `save` writes: see docs/results.md."""
        from fourd_humans.results.phalp_format import to_entry

        paths = [str(PurePath(self.folder) / frame.name) for frame in self.frames]
        return {path: to_entry(frame, path, textures=True) for path, frame in zip(paths, self.frames, strict=True)}

    def save(self, path: Path | str, overwrite: bool = False) -> None:
        """Write a result file, with textures where there are any.

        Raises: UsageError where the file exists or cannot be made; FourDHumansError where it cannot be written.
        """
        from fourd_humans.results.store import ResultWriter

        with ResultWriter(
            path, overwrite=overwrite, folder=self.folder, textures=True, made_with=self.made_with
        ) as writer:
            for frame in self.frames:
                writer.write(frame)
            writer.close(complete=self.complete, reason=self.reason, shots=self.shots)

    def export(self, formats: Sequence[str] | str, output: Path | str, name: str, **options: Any) -> list[Path]:
        """Write files for other programs, as ``glb`` or ``["bvh", "csv"]``: see `fourd_humans.exports.export`.

        >>> load_tracklets("outputs/walk.pkl").export("glb", "outputs", "walk")  # doctest: +SKIP
        [PosixPath('outputs/walk.glb')]
        """
        from fourd_humans.exports import export

        return export(self, [formats] if isinstance(formats, str) else formats, output, name, **options)


def _rows(frame: TrackedFrame, chosen: NDArray[np.bool_]) -> TrackedFrame:
    return replace(
        frame,
        ids=frame.ids[chosen],
        time_since_seen=frame.time_since_seen[chosen],
        detections=select(frame.detections, chosen),
        bodies=select(frame.bodies, chosen),
        predicted_pose=None if frame.predicted_pose is None else frame.predicted_pose[chosen],
        predicted_location=None if frame.predicted_location is None else frame.predicted_location[chosen],
    )


def axis_angle(matrices: NDArray[np.floating]) -> Float:
    """(N, J, 3, 3) rotations as (N, 3 J) vectors, axis times angle in radians, joint after joint."""
    count, joints = matrices.shape[:2]
    if not count:
        return np.zeros((0, 3 * joints), np.float32)
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(count, -1).astype(np.float32)
