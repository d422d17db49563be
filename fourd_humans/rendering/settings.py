"""Settings of the rendered video."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from fourd_humans.settings import Integer, Number, Settings, Share, split_list

View = Literal["overlay", "side", "top"]


class RenderSettings(Settings):
    """See `rendering.renderer.Renderer`."""

    views: Annotated[tuple[View, ...], BeforeValidator(split_list), Field(min_length=1)] = ("overlay",)
    """What the video shows: some of overlay, side, top."""
    supersample: Annotated[Integer, Field(ge=1, le=8)] = 2
    """Samples per pixel and direction; 1 is faster, with jagged edges."""
    alpha: Share = 0.85
    """Opacity of the bodies."""
    depth_scale: Annotated[Number, Field(ge=1e-3, le=1e3)] | None = None
    """Factor on depths in the side and top views; null: as with an ordinary lens."""
    backend: Literal["numba", "pyrender"] = "numba"
    """What draws the bodies: the built-in rasteriser, or pyrender where it and OpenGL are installed."""
    level: Literal["auto", "none"] | Annotated[Number, Field(gt=-90, lt=90)] = "auto"
    """How the side and top views stand: upright with people, in the camera's own frame, or for a pitch in degrees."""
    quality: Annotated[Integer, Field(ge=0, le=51)] = 23
    """Constant rate factor of H.264: lower is better and larger."""

    @field_validator("views")
    @classmethod
    def _each_once(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        if len(set(views)) < len(views):
            raise ValueError("must name each view once")
        return views
