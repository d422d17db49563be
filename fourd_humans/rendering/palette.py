"""A colour for every identity."""

from __future__ import annotations

import math

Colour = tuple[int, int, int]

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # consecutive identities are far apart in hue, and no hue comes twice


def track_colour(identity: int) -> Colour:
    """RGB of an identity, always the same one; all are about equally bright and vivid.

    Hues go around the circle of OKLCh (Ottosson, "A perceptual color space for image processing", 2020) in steps of the
    golden angle; odd identities are darker than even ones.
    """
    lightness, chroma = (0.76, 0.13) if identity % 2 == 0 else (0.64, 0.15)
    hue = 0.5 + identity * GOLDEN_ANGLE
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _encode(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _encode(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _encode(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def linear_rgb(colour: Colour) -> tuple[float, float, float]:
    """Linear light, 0..1, of an sRGB colour, as 3D formats take it."""
    values = (channel / 255 for channel in colour)
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return red, green, blue


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever is easier to read on the background."""
    luminance = sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), background, strict=True))
    return (0, 0, 0) if luminance > 128 else (255, 255, 255)


def _encode(linear: float) -> int:
    """sRGB 0..255 of a linear channel 0..1."""
    linear = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
