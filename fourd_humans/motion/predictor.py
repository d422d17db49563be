"""The next poses of all tracks, from the pose transformer, in one batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.motion.pose_transformer import CAMERA, PoseTransformer
from fourd_humans.motion.time_kernel import Blend


class PosePredictor:
    """What the tracker asks for every track's next pose.

    Each track's history is written from the first position of a sequence on, at its own frame numbers; the frame
    queried is masked and read, each track at its own time offset. What no longer fits is written at the last
    position, as in the released code.

    network: as `load_pose_transformer` gives it.
    """

    def __init__(self, network: PoseTransformer) -> None:
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(self, poses: NDArray, times: NDArray, ahead: NDArray) -> NDArray[np.float32]:
        """poses: (T, H, 229), oldest first, the camera being the crop's with its last number divided by 200.

        times: (T, H) their frame numbers, not decreasing; of equal ones the last counts. ahead: (T,) frames after the
        last of `times` to look, from 1. Returns (T, 229).
        """
        network, device = self.network, self.network.mean.device
        last = network.frames - 1
        steps = torch.from_numpy(np.asarray(times - times[:, :1], dtype=np.int64)).to(device)
        queried = steps[:, -1:] + torch.from_numpy(np.asarray(ahead, dtype=np.int64)).to(device)[:, None]
        if network.start is not None:  # trained without the tracker's camera features; forgets what lies too far back
            too_far = (queried - last).clamp(min=0)
            steps, queried = steps - too_far, queried - too_far
        features = torch.from_numpy(np.asarray(poses, dtype=np.float32)).to(device)
        if network.start is not None:
            features = features.clone()
            features[..., CAMERA] = network.mean[CAMERA]
        outdated = torch.cat([steps[:, 1:] == steps[:, :-1], torch.zeros_like(steps[:, :1], dtype=torch.bool)], 1)
        masked = outdated | (steps < 0)
        positions = steps.clamp(0, last)
        queried = queried.clamp(max=last)
        if not network.has_bottleneck:
            features = torch.cat([features, features[:, -1:]], 1)
            masked = torch.cat([masked, torch.ones_like(queried, dtype=torch.bool)], 1)
            positions = torch.cat([positions, queried], 1)
            tokens, start = (
                network.encode(features, masked, times=positions),
                network.blend(features, masked, positions),
            )
            last_start = None if start is None else Blend(*(values[:, -1] for values in start))
            return network.read_pose(tokens[:, -1], last_start).cpu().numpy()
        sequence = features.new_zeros(len(features), network.frames, features.shape[-1])
        empty = torch.ones(len(features), network.frames, dtype=torch.bool, device=device)
        rows = torch.arange(len(features), device=device)
        for step in range(features.shape[1]):  # in order: later ones win
            sequence[rows, positions[:, step]] = features[:, step]
            empty[rows, positions[:, step]] = False
        tokens = network.encode(sequence, empty)[rows, queried[:, 0]]
        return network.read_pose(tokens).cpu().numpy()
