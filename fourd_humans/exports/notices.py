"""Whose body an export holds, and on what terms: the notice that travels in the file."""

from __future__ import annotations

from fourd_humans.body.loading import SMPL

SMPL_NOTICE = (
    "Contains the SMPL body model, Copyright Max-Planck-Gesellschaft zur Foerderung der Wissenschaften e.V. "
    "Licensed for non-commercial scientific research, education and artistic projects only; "
    "commercial use and redistribution need a licence: https://smpl.is.tue.mpg.de/modellicense.html"
)
OPEN_BODY_NOTICE = "The body is made from MakeHuman's assets: CC0 1.0, free for any use"


def notice(shape_space: str) -> str:
    """One line about the body of a shape space."""
    return SMPL_NOTICE if shape_space == SMPL else OPEN_BODY_NOTICE
