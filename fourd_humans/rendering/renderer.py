"""Drawing tracked people: over their frame, and from the side and from above."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import NEAR, camera_row, fill, to_screen, touched
from fourd_humans.people import TrackedFrame
from fourd_humans.rendering.labels import Tags, dashed_box
from fourd_humans.rendering.palette import track_colour
from fourd_humans.rendering.settings import RenderSettings
from fourd_humans.rendering.shading import composite, face_light, vertex_light, vertex_normals
from fourd_humans.rendering.views import DIRECTIONS, SteadyRange, View, ordinary_depth_scale
from fourd_humans.rendering.with_pyrender import PyrenderPainter

VIEWS = ("overlay", *DIRECTIONS)
HEAD_TOP = 38  # of the 45 joints
HEAD_ROOM = 0.1  # metres between a head and its tag
BANDS_PER_THREAD = 3  # rows are shared out in bands: more of them wait less for the slowest, but cost more overhead
SAMPLES_IN_BAND = 1 << 19  # at most, so that buffers stay in the processor's cache
FADED = 0.4  # share of the opacity that is left of people who are only predicted


class Renderer:
    """Draws the frames of one video, one after another.

    body_model: whose mesh to draw. Bodies of another shape space are drawn with this one's mean shape.
    views: what to show: "overlay", "side" and "top". The first of these has the
        frame's size, the others stand in a column beside it.
    supersample: samples per pixel and direction, for smooth edges. alpha: opacity of seen people, 0 to 1.
    depth_scale: factor on depths in the side and top views; None: see `views.ordinary_depth_scale`.
    threads: how many share the work on a frame.
    backend: "numba", the built-in rasteriser, or "pyrender" (see `with_pyrender`).

    Raises: UsageError for values out of range.
    """

    def __init__(
        self,
        body_model: BodyModel,
        views: Sequence[str] = ("overlay",),
        supersample: int = 2,
        alpha: float = 0.85,
        depth_scale: float | None = None,
        threads: int | None = None,
        backend: Literal["numba", "pyrender"] = "numba",
    ) -> None:
        if not views or len(set(views)) < len(views) or not set(views) <= set(VIEWS):
            raise UsageError(f"views must be some of {', '.join(VIEWS)}, each once, not '{','.join(views)}'")
        if not 1 <= supersample <= 8:
            raise UsageError(f"supersample must be 1 to 8 samples per pixel and direction, not {supersample}")
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha, the opacity, must be 0 to 1, not {alpha}")
        if depth_scale is not None and not 0 < depth_scale < np.inf:
            raise UsageError(f"depth_scale must be a positive number, not {depth_scale}")
        self.body_model = body_model
        self._faces = np.ascontiguousarray(body_model.faces, dtype=np.int64)
        self._views = tuple(view for view in VIEWS if view in views)
        self._samples = supersample
        self._alpha = alpha
        self._depth_scale = depth_scale
        self._range = SteadyRange()
        self._painter: PyrenderPainter | None = None
        if backend == "pyrender":
            self._painter = PyrenderPainter(self._faces, supersample)
        self._threads = threads or min(os.cpu_count() or 1, 8)
        self._of_thread = threading.local()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="rendering")

    @property
    def shows_scene(self) -> bool:
        """Whether the people are shown from the side or from above."""
        return self._views != ("overlay",)

    def output_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the pictures for frames of this (height, width): always even, as video needs it."""
        height, width = frame_size
        return _even(height), _even(width) + (self._panel_sizes(frame_size)[0][1] if len(self._views) > 1 else 0)

    def draw(
        self,
        image: NDArray[np.uint8],
        frame: TrackedFrame,
        labels: Mapping[int, str] | None = None,
        level_frame: TrackedFrame | None = None,
    ) -> NDArray[np.uint8]:
        """The picture of a frame: a new array of `output_size`.

        image: (H, W, 3) RGB, the frame itself. frame: its people. Call this in the order of the video: the side and
        top views keep the range that they show steady over time. labels: by identity, what the overlay's tag says
        beside it. level_frame: the same people in a level world (`motion.level`), for the side and top views; by
        default these show the camera's frame, with depths scaled.
        """
        size = (image.shape[0], image.shape[1])
        scene = self._scene(frame)
        if level_frame is None:
            scale = self._depth_scale or ordinary_depth_scale(scene.intrinsics.focal_length, size)
            spread = scene.with_depths_scaled(scale)
        else:
            spread = self._scene(level_frame)
        shown = self._range.update(spread.positions[np.isfinite(spread.positions).all(1)], restart=frame.is_cut)
        pictures = []
        for name, panel in zip(self._views, [size, *self._panel_sizes(size)], strict=False):
            if name == "overlay":
                pictures.append(self._draw_people(image.copy(), scene))
                self._draw_tags(pictures[-1], scene, list(frame.detections.boxes[scene.hidden]), labels or {})
            else:
                view = View.of(DIRECTIONS[name], shown, panel)
                turned = spread.seen_from(view)
                pictures.append(self._draw_people(view.background(name), turned))
                self._draw_tags(pictures[-1], turned, [], {})
        if size[0] % 2 or size[1] % 2:
            pictures[0] = np.pad(pictures[0], ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
        return np.hstack([pictures[0], np.vstack(pictures[1:])]) if len(pictures) > 1 else pictures[0]

    def _panel_sizes(self, frame_size: tuple[int, int]) -> list[tuple[int, int]]:
        """(height, width) of the panels in the column: together as high as the frame, each of about its shape."""
        count = len(self._views) - 1
        if count == 0:
            return []
        height, width = _even(frame_size[0]), max(_even(frame_size[1] // count), 2)
        return [(height * (i + 1) // count - height * i // count, width) for i in range(count)]

    def _scene(self, frame: TrackedFrame) -> _Scene:
        bodies = frame.bodies
        device = self.body_model.J_template.device
        same_shapes = bodies.shape_space == self.body_model.shape_space
        parameters = (bodies.global_orient, bodies.body_pose, bodies.betas if same_shapes else 0 * bodies.betas)
        with torch.inference_mode():
            posed = self.body_model(*(torch.from_numpy(np.ascontiguousarray(p)).to(device) for p in parameters))
        place = bodies.camera[:, None].astype(np.float64)
        hidden = ~frame.seen
        return _Scene(
            vertices=posed.vertices.cpu().numpy() + place,
            heads=posed.joints[:, HEAD_TOP].cpu().numpy() + place[:, 0],
            positions=bodies.camera.astype(np.float64),
            hidden=hidden,
            ids=frame.ids,
            colours=np.array([track_colour(int(i)) for i in frame.ids], np.float64).reshape(-1, 3),
            alphas=self._alpha * np.where(hidden, FADED, 1.0),
            intrinsics=Intrinsics(bodies.focal_length, bodies.principal_point),
        )

    def _draw_people(self, image: NDArray[np.uint8], scene: _Scene) -> NDArray[np.uint8]:
        """The bodies over `image`, in place. Predicted people are drawn after the seen ones, so that they hide nobody,
        but are hidden where a seen person is nearer."""
        if self._painter is not None:
            return self._draw_with(self._painter, image, scene)
        camera = camera_row(scene.intrinsics, self._samples)
        screen = to_screen(scene.vertices, camera, NEAR)
        lights = vertex_light(scene.vertices, vertex_normals(scene.vertices, self._faces))
        layers = [
            (scene.vertices[rows], screen[rows], face_light(screen[rows], lights[rows], self._faces),
             scene.colours[rows], scene.alphas[rows])
            for rows in (~scene.hidden, scene.hidden)
            if rows.any()
        ]  # fmt: skip
        if not layers:
            return image
        top, bottom, left, right = touched(screen, self._samples, image.shape[0], image.shape[1])

        def draw_band(first: int, last: int) -> None:
            shape = ((last - first) * self._samples, (right - left) * self._samples)
            inverse_depth, numbers = self._buffers(shape)
            inverse_depth.fill(0)
            origin = first * self._samples, left * self._samples
            for vertices, on_screen, planes, colours, alphas in layers:
                numbers.fill(-1)
                fill(vertices, on_screen, self._faces, camera, NEAR, *origin, inverse_depth, numbers, True)
                composite(image, first, left, inverse_depth, numbers, self._samples, planes, colours, alphas)

        samples = (bottom - top) * (right - left) * self._samples**2
        bands = min(max(BANDS_PER_THREAD * self._threads, -(-samples // SAMPLES_IN_BAND)), max(bottom - top, 1))
        edges = np.linspace(top, bottom, 1 + bands, dtype=int)
        list(self._pool.map(draw_band, edges[:-1].tolist(), edges[1:].tolist()))
        return image

    def _buffers(self, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Depth and face numbers for a band, with anything in them: memory that the thread has used before, because a
        third of the time would otherwise go into getting it."""
        size = shape[0] * shape[1]
        kept: tuple[NDArray[np.float32], NDArray[np.int32]] | None = getattr(self._of_thread, "buffers", None)
        if kept is None or kept[0].size < size:
            kept = self._of_thread.buffers = np.empty(size, np.float32), np.empty(size, np.int32)
        return kept[0][:size].reshape(shape), kept[1][:size].reshape(shape)

    def _draw_with(self, painter: PyrenderPainter, image: NDArray[np.uint8], scene: _Scene) -> NDArray[np.uint8]:
        depth = None
        for rows in (~scene.hidden, scene.hidden):
            if rows.any():
                vertices, colours, alphas = scene.vertices[rows], scene.colours[rows], scene.alphas[rows]
                depth = painter.draw(image, vertices, colours, alphas, scene.intrinsics, behind=depth)
        return image

    def _draw_tags(
        self,
        image: NDArray[np.uint8],
        scene: _Scene,
        hidden_boxes: Sequence[NDArray[np.float32]],
        labels: Mapping[int, str],
    ) -> None:
        thickness = max(1, round(min(image.shape[:2]) / 500))
        for box, row in zip(hidden_boxes, np.flatnonzero(scene.hidden), strict=False):
            dashed_box(image, tuple(box.tolist()), track_colour(int(scene.ids[row])), thickness)
        focal, center = scene.intrinsics.focal_length, np.array(scene.intrinsics.principal_point)
        tags = Tags(image)
        for row in np.argsort(scene.positions[:, 2]):  # the nearest first: its tag stays in place
            x, y, z = scene.heads[row]
            if z > NEAR:
                anchor = focal * np.array([x, y - HEAD_ROOM]) / z + center
                colour = track_colour(int(scene.ids[row]))
                text = f"{scene.ids[row]} {labels.get(int(scene.ids[row]), '')}".strip()
                tags.draw(text, (anchor[0], anchor[1]), colour, hidden=bool(scene.hidden[row]))


def build(settings: RenderSettings, body_model: BodyModel) -> Renderer:
    """The renderer that the settings ask for."""
    return Renderer(
        body_model,
        settings.views,
        settings.supersample,
        settings.alpha,
        settings.depth_scale,
        backend=settings.backend,
    )


@dataclass(frozen=True)
class _Scene:
    """The P people of a frame in the frame of some camera.

    vertices: (P, V, 3), heads: (P, 3) tops of heads, positions: (P, 3) of the bodies' origins: metres.
    hidden: (P,) bool. ids: (P,). colours: (P, 3) 0..255. alphas: (P,). intrinsics: of that camera.
    """

    vertices: NDArray[np.float64]
    heads: NDArray[np.float64]
    positions: NDArray[np.float64]
    hidden: NDArray[np.bool_]
    ids: NDArray[np.int64]
    colours: NDArray[np.float64]
    alphas: NDArray[np.float64]
    intrinsics: Intrinsics

    def with_depths_scaled(self, scale: float) -> _Scene:
        """People nearer or farther by this factor; their bodies keep their size."""
        shift = self.positions * [0.0, 0.0, scale - 1.0]
        return replace(
            self,
            vertices=self.vertices + shift[:, None],
            heads=self.heads + shift,
            positions=self.positions + shift,
        )

    def seen_from(self, view: View) -> _Scene:
        return replace(
            self,
            vertices=view.points(self.vertices),
            heads=view.points(self.heads),
            positions=view.points(self.positions),
            intrinsics=view.intrinsics,
        )


def _even(length: int) -> int:
    return length + length % 2
