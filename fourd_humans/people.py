"""What flows through the chain: the people of one frame, as arrays with the person as first dimension.

Frames are RGB uint8 (H, W, 3). Boxes are ``xyxy`` in pixels of the full frame. Rotations are matrices (..., 3, 3);
axis-angle exists at the edges only. Lengths are metres, in a camera frame with x right, y down, z away from the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Float = NDArray[np.float32]
Index = int | slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]
NUM_JOINTS = 45  # see `body.joints.JOINT_NAMES`
TEXTURE_SIZE = 256

_Rows = TypeVar("_Rows", "Detections", "Bodies")


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    index: number of the frame in the source, from 0, also when reading starts later.
    time: seconds since the source's first frame, as its timestamps say.
    name: the file name (folders of images) or a zero-padded number (videos); unique within the source.
    image: (H, W, 3) RGB uint8.
    focal_length: in pixels, where the source's tags tell it.
    pixels: the image as a tensor on the networks' device, where the stages share a copy of it.
    """

    index: int
    time: float
    name: str
    image: NDArray[np.uint8]
    focal_length: float | None = None
    pixels: torch.Tensor | None = field(default=None, compare=False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class Mask:
    """The pixels of one person, kept as the part of the frame that holds them, which is a fraction of a full mask.

    pixels: (h, w) bool. left, top: where its corner lies in the frame; the whole of it lies inside the frame.
    size: (H, W) of the frame.
    """

    pixels: NDArray[np.bool_]
    left: int
    top: int
    size: tuple[int, int]

    def full(self) -> NDArray[np.bool_]:
        """(H, W) bool over the whole frame."""
        mask = np.zeros(self.size, dtype=bool)
        h, w = self.pixels.shape
        mask[self.top : self.top + h, self.left : self.left + w] = self.pixels
        return mask

    @staticmethod
    def deferred(size: tuple[int, int], decode: Callable[[], Mask]) -> Mask:
        """A mask that is decoded when its pixels are first asked for: encoded it takes a hundredth of the memory."""
        mask = object.__new__(Mask)
        mask.__dict__.update(size=size, _decode=decode)
        return mask

    def __getattr__(self, name: str) -> Any:
        decode = self.__dict__.get("_decode")
        if name not in ("pixels", "left", "top") or (decode is None and name not in self.__dict__):
            raise AttributeError(name)
        if decode is not None:  # several threads may come here at a time, with the same answer
            decoded = decode()
            self.__dict__.update(pixels=decoded.pixels, left=decoded.left, top=decoded.top)
            self.__dict__.pop("_decode", None)
        return self.__dict__[name]

    @staticmethod
    def from_full(mask: NDArray[np.bool_]) -> Mask:
        """Cut a (H, W) bool mask down to the rectangle that holds its pixels (empty if there are none)."""
        size = (mask.shape[0], mask.shape[1])
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
        top, left = int(rows[0]), int(columns[0])
        return Mask(mask[top : rows[-1] + 1, left : columns[-1] + 1].copy(), left, top, size)


DUPLICATE = "duplicate of a better detection"  # the reason of a rejected detection


@dataclass(frozen=True)
class Rejected:
    """A detection that was not used, and why, so that nobody disappears silently."""

    box: tuple[float, float, float, float]
    score: float
    reason: str


@dataclass
class Detections:
    """The people found in one frame.

    boxes: (N, 4) xyxy float32. scores: (N,) in 0..1.
    masks: one per person (None for a person without), or None where nobody has one.
    keypoints: (N, 17, 3) in COCO order: x and y in pixels, score in 0..1; or None.
    annotations: one per person, whatever a boxes file said of them (an id, say); or None.
    rejected: what was found but not kept.
    group: (N,) or None: detections with the same number may be one person, the best of them first; -1 for the others.
        The tracker decides, see `Tracker.resolve_duplicates`.
    """

    boxes: Float
    scores: Float
    masks: list[Mask | None] | None = None
    keypoints: Float | None = None
    annotations: list[Any] | None = None
    rejected: list[Rejected] = field(default_factory=list)
    group: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> Detections:
        """The chosen people, in the order chosen. `rejected` stays with the frame and is passed on whole."""
        return select(self, index)

    @staticmethod
    def empty() -> Detections:
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass
class Bodies:
    """The recovered bodies of one frame, row by row those of its `Detections`.

    global_orient: (N, 1, 3, 3), body_pose: (N, 23, 3, 3): SMPL's joint rotations.
    betas: (N, 10), which mean something only together with `shape_space`, the body model they belong to.
    camera: (N, 3) translation of the body in the full image's camera frame, for `focal_length` and `principal_point`.
    focal_length: pixels of the full frame. principal_point: (x, y) pixels of the full frame.
    joints_3d: (N, 45, 3) metres, in the body's own position: add `camera` to place them in the camera frame.
    joints_2d: (N, 45, 2) pixels of the full frame.
    texture: (N, 4, 256, 256) float32 or None: RGB normalised with ImageNet's mean and std and divided by 5
        (0 where unseen), then 1 where seen and -1 where not.
    camera_crop: (N, 3) weak-perspective (s, tx, ty) in the 256-pixel crop, for a focal length of 5000 there, or None
        where the recovery works without a crop: `geometry.crops` then derives it from `camera` and the detection's box.
    crop_center: (N, 2) pixels, crop_size: (N,) pixels: the square crop that `camera_crop` refers to, or None.
    confidence: (N,) how far the recovery trusts each body, in 0..1, or None where it does not tell. Bodies of hidden
        people, which are predicted or filled in, have 0.
    """

    global_orient: Float
    body_pose: Float
    betas: Float
    camera: Float
    joints_3d: Float
    joints_2d: Float
    focal_length: float
    principal_point: tuple[float, float]
    shape_space: str
    texture: Float | None = None
    camera_crop: Float | None = None
    crop_center: Float | None = None
    crop_size: Float | None = None
    confidence: Float | None = None

    def __len__(self) -> int:
        return len(self.global_orient)

    def __getitem__(self, index: Index) -> Bodies:
        """The chosen people, in the order chosen."""
        return select(self, index)

    @staticmethod
    def empty(shape_space: str, focal_length: float = 1.0, principal_point: tuple[float, float] = (0.0, 0.0)) -> Bodies:
        def zeros(*shape: int) -> Float:
            return np.zeros((0, *shape), np.float32)

        return Bodies(
            zeros(1, 3, 3), zeros(23, 3, 3), zeros(10), zeros(3), zeros(NUM_JOINTS, 3), zeros(NUM_JOINTS, 2),
            focal_length, principal_point, shape_space,
        )  # fmt: skip


def select(people: _Rows, index: Index) -> _Rows:
    """Rows of every per-person field; an int gives a batch of one."""
    rows = np.arange(len(people))[[index] if isinstance(index, int | np.integer) else index]
    changes: dict[str, Any] = {}
    for f in fields(people):
        value = getattr(people, f.name)
        if isinstance(value, np.ndarray):
            changes[f.name] = value[rows]
        elif isinstance(value, list) and f.name != "rejected":
            changes[f.name] = [value[i] for i in rows]
    return replace(people, **changes)


def concatenate(people: Sequence[_Rows]) -> _Rows:
    """Join people of the same frame. The frame's own fields come from the first.

    A field that only some have is filled up for the others: lists with None, arrays with zeros (a score of 0, say).
    """
    changes: dict[str, Any] = {}
    for f in fields(people[0]):
        values = [getattr(p, f.name) for p in people]
        present: Any = next((v for v in values if v is not None), None)
        if f.name == "rejected":
            changes[f.name] = [item for value in values for item in value]
        elif isinstance(present, list):
            changes[f.name] = [i for p, v in zip(people, values, strict=True) for i in (v or [None] * len(p))]
        elif isinstance(present, np.ndarray):
            filled = [
                np.zeros((len(p), *present.shape[1:]), present.dtype) if v is None else v
                for p, v in zip(people, values, strict=True)
            ]
            changes[f.name] = np.concatenate(filled)
    return replace(people[0], **changes)


@dataclass
class TrackedFrame:
    """One frame of the answer: who is there, seen or not, row by row.

    index, time, name, size: of the source's frame (see `Frame`); size is (height, width).
    shot: True where a new shot begins with this frame.
    ids: (N,) identity of each person. time_since_seen: (N,) frames since the person was last detected: 0 where seen
    here, above 0 where hidden and predicted ahead, -1 where hidden and filled in from both sides.
    detections, bodies: (N) rows. For hidden people the predicted ones.
    predicted_pose, predicted_location: (N, 229) and (N, 99), what the track expects one frame ahead, or None.
    detected: how many of the frame's detections the tracker was given.
    error: why the frame could not be used, or None.
    camera_homography: (3, 3) from the pixels of the shot's last keyframe to this one's, of the background; NaN where it
        could not be found, None where the frame is no keyframe or the shot's first one (see `video.camera_motion`).
    """

    index: int
    time: float
    name: str
    size: tuple[int, int]
    ids: NDArray[np.int64]
    time_since_seen: NDArray[np.int64]
    detections: Detections
    bodies: Bodies
    predicted_pose: Float | None = None
    predicted_location: Float | None = None
    is_cut: bool = False
    detected: int = 0
    error: str | None = None
    camera_homography: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(N,) True for people detected in this very frame."""
        return self.time_since_seen == 0


@dataclass(frozen=True)
class Gravity:
    """Which way is up in a shot, estimated from its people (see `motion.gravity`).

    up: (3,) unit vector against gravity in the camera's frame, x right, y down, z away; (0, -1, 0) for a level camera.
    floor: metres along `up` from the camera to the floor, negative where the floor is below the camera.
    confidence: in 0..1; one half where the direction's standard deviation is 5 degrees.
    focal_length: pixels, of the camera that this holds for (see `geometry.camera.assumed_intrinsics`).
    """

    up: tuple[float, float, float]
    floor: float
    confidence: float
    focal_length: float


CameraMotion = Literal["static", "rotating", "moving", "unknown"]


@dataclass(frozen=True)
class Shot:
    """What is known of the scene between two cuts.

    first_frame, last_frame: numbers of frames, both inclusive.
    gravity: which way is up in the camera's frame, that of the first frame where the camera rotates; or None.
    camera_motion: static; rotating (about its own centre); moving (it travels, or its focal length changes; people are
        then not put into one frame); unknown (too little background to tell).
    rotations: of a rotating camera, keyframes with the rotation (3, 3) from their camera's frame to the first frame's.
    """

    first_frame: int
    last_frame: int
    gravity: Gravity | None = None
    camera_motion: CameraMotion = "unknown"
    rotations: tuple[tuple[int, tuple[tuple[float, float, float], ...]], ...] = ()
