"""AVA's csv from a folder of tracklet files, as the released evaluation makes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fourd_humans.actions.checkpoint import ActionModel
from fourd_humans.actions.formats import ava_rows
from fourd_humans.actions.inference import average, check_inputs, sigmoid
from fourd_humans.actions.scenes import FRAMES, Order, build_scene, stack
from fourd_humans.actions.tracklet_files import KeyTracklet, read_tracklet, tracklet_groups

log = logging.getLogger(__name__)

LEAST_CONFIDENCE = 0.8
SECONDS = range(902, 1799)


def score_tracklet_files(
    model: ActionModel,
    folder: Path,
    *,
    people: int | None = None,
    window: int = 12,
    order: Order = "nearest",
    confidence: float = LEAST_CONFIDENCE,
    on_group: Callable[[int, int], None] = lambda done, of: None,
) -> list[list[Any]]:
    """Rows of AVA's csv: everybody detected in a key frame, in a scene with the others of that key frame.

    people: of a scene; by default as many as the network was trained on. window: frames averaged over (1: none).
    confidence: of the detector in the key frame, below which people are left out.
    """
    rows: list[list[Any]] = []
    groups = tracklet_groups(folder)
    left_out = 0
    for done, ((video, _), paths) in enumerate(groups.items(), start=1):
        group = [read_tracklet(path) for path in paths]
        for tracklet in group:
            if tracklet.second not in SECONDS or tracklet.confidence is None or tracklet.confidence < confidence:
                left_out += 1
                continue
            scores = key_frame_scores(model, tracklet, group, people or model.people, window, order)
            if scores is not None:
                assert tracklet.box is not None
                rows += ava_rows(video, tracklet.second, tracklet.box, scores, model.classes)
        on_group(done, len(groups))
    if left_out:
        log.warning(
            "%d tracklets left out: no key frame, confidence below %g, or beyond seconds %d to %d",
            left_out, confidence, SECONDS[0], SECONDS[-1],
        )  # fmt: skip
    return rows


@torch.inference_mode()
def key_frame_scores(
    model: ActionModel, tracklet: KeyTracklet, group: list[KeyTracklet], people: int, window: int, order: Order
) -> Any:
    """(C,) scores of a tracklet's person at the key frame, or None where it is not detected there."""
    others = [other.track for other in group if other is not tracklet]
    check_inputs(model.network, [tracklet.track, *others])
    scene = build_scene(tracklet.track, others, people=people, frames=min(FRAMES, model.network.frames), order=order)
    index = tracklet.key_index
    if index is None or index >= len(scene.detected) or not scene.detected[index, 0]:
        return None
    batch = stack([scene], joints=model.network.takes_joints, appearance=model.network.takes_appearance)
    logits = model.network(batch.to(model.network.mean.device))[0, :, 0].cpu().numpy()
    length = min(len(tracklet.track), len(logits))
    return average(sigmoid(logits[:length]), window)[index]
