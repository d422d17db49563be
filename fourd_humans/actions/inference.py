"""What people do over time: windows of scenes through the action transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.actions.action_transformer import ActionTransformer
from fourd_humans.actions.scenes import FRAMES, Order, Scene, build_scene, stack
from fourd_humans.actions.tracks import ActionTrack
from fourd_humans.errors import UsageError
from fourd_humans.people import Float

MARGIN = 32  # frames of context on either side of those that a window answers for
STEP = FRAMES - 2 * MARGIN
RELEASED_STEP = 32  # what the released demo for videos moves on by
BATCH = 4


@dataclass(frozen=True)
class TrackScores:
    """Scores of one track.

    track: the track. logits: (n, C), before the sigmoid. features: (n, D) output tokens, or None.
    """

    track: ActionTrack
    logits: Float
    features: Float | None = None

    @property
    def scores(self) -> Float:
        """(n, C) in 0..1."""
        return sigmoid(self.logits)


@torch.inference_mode()
def score_tracks(
    network: ActionTransformer,
    tracks: Sequence[ActionTrack],
    *,
    people: int = 1,
    step: int = STEP,
    margin: int = MARGIN,
    order: Order = "nearest",
    features: bool = False,
    ids: Sequence[int] | None = None,
    on_window: Callable[[int, int], None] = lambda done, of: None,
) -> list[TrackScores]:
    """Scores of every track, each as the first person of scenes of its own with those around.

    people: most people of a scene. step, margin: a window answers for `step` frames and sees `margin` more on either
    side; the released demo for videos has 32 and 32. features: also return output tokens.
    ids: score only these people; the others are still seen around them. on_window: called with windows done and to do.
    Raises: UsageError where the network needs appearance features and a track has none.
    """
    device = network.mean.device
    check_inputs(network, tracks)
    if step + 2 * margin > network.frames or people > network.people:
        raise UsageError(f"the network takes scenes of at most {network.frames} frames and {network.people} people")
    scored = [track for track in tracks if ids is None or track.id in ids]
    windows = [(i, first) for i, track in enumerate(scored) for first in range(0, len(track), step)]
    logits = [np.zeros((len(track), network.actions), np.float32) for track in scored]
    tokens_of = [np.zeros((len(track) if features else 0, network.token_width), np.float32) for track in scored]
    for begin in range(0, len(windows), BATCH):
        chosen = windows[begin : begin + BATCH]
        scenes = [_window(scored[i], tracks, first, people, step, margin, order) for i, first in chosen]
        batch = stack(scenes, joints=network.takes_joints, appearance=network.takes_appearance)
        tokens = network.encode(batch.to(device))[:, :, 0]
        answers = network.read_actions(tokens).cpu().numpy()
        for row, (i, first) in enumerate(chosen):
            stop = min(first + step, len(scored[i]))
            kept = slice(first - max(first - margin, 0), stop - max(first - margin, 0))
            logits[i][first:stop] = answers[row, kept]
            if features:
                tokens_of[i][first:stop] = tokens[row, kept].cpu().numpy()
        on_window(min(begin + BATCH, len(windows)), len(windows))
    return [TrackScores(track, logits[i], tokens_of[i] if features else None) for i, track in enumerate(scored)]


def check_inputs(network: ActionTransformer, tracks: Sequence[ActionTrack]) -> None:
    """Raises: UsageError where the network needs appearance features and a track has none, or others."""
    if network.takes_appearance:
        for track in tracks:
            count = None if track.appearance is None else track.appearance.shape[1]
            if count != network.appearance_features:
                raise UsageError(
                    f"the network needs {network.appearance_features} appearance features of every person, and person "
                    f"{track.id} has {count or 'none'}: use a pose-only network, or tracklet files with these features"
                )


def average(scores: Float, frames: int) -> Float:
    """Mean of the scores (n, C) over the frames [k - frames/2, k + frames/2) around each frame k, cut to the track.

    1 leaves them as they are.
    """
    before, after = frames // 2, frames - frames // 2
    sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, 0, dtype=np.float64)])
    k = np.arange(len(scores))
    low, high = np.maximum(k - before, 0), np.minimum(k + after, len(scores))
    return ((sums[high] - sums[low]) / (high - low)[:, None]).astype(np.float32)


def sigmoid(logits: NDArray[np.floating]) -> Float:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def _window(
    ego: ActionTrack,
    tracks: Sequence[ActionTrack],
    first: int,
    people: int,
    step: int,
    margin: int,
    order: Order,
) -> Scene:
    low, high = max(first - margin, 0), min(first + step + margin, len(ego))
    others = [track for track in tracks if track is not ego] if people > 1 else []
    return build_scene(ego, others, start=ego.start + low, frames=high - low, people=people, order=order)
