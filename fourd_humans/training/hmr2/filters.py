"""Which annotations to trust, and which people to train on: the released filters, in their order.

The supplement (S.1) discards doubtful fits. The released code keeps the person and its 2D keypoints, and drops only
what the fit tells of pose and shape; so does this, unless `discard_bad_fits` is set.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from fourd_humans.body.loading import SMPL
from fourd_humans.training.hmr2.annotations import PersonAnnotation
from fourd_humans.training.pose_histogram import PoseHistogram


@dataclass(frozen=True)
class Filters:
    """The defaults are those of the released configuration.

    least_confidence: 2D keypoints below it are not used. largest_beta: shapes with one farther from 0 are not used.
    histogram: poses that are improbable by it are not used; None: no such filter. pose_needs_shape: a pose without a
    shape is not used, nor a shape without a pose. discard_bad_fits: people whose shape or pose is refused are left out.
    needs_pose: people without a pose are left out. more_keypoints_than: people with so many 2D keypoints, or fewer, are
    left out. largest_reprojection_loss: people whose fit has this or more are left out (unit: that of the released data
    sets). smallest_box: pixels; people with a shorter box side, or one as short, are left out; 0: none.
    regularise_betas: where the shape is not known, it is to be the mean shape.
    shape_space: of the body that is trained with. Betas of another body mean nothing to it, and are not used.
    """

    least_confidence: float = 0.3
    largest_beta: float = 3.0
    histogram: PoseHistogram | None = None
    pose_needs_shape: bool = True
    discard_bad_fits: bool = False
    needs_pose: bool = False
    more_keypoints_than: int = 4
    largest_reprojection_loss: float = 31_000.0
    smallest_box: float = 0.0
    regularise_betas: bool = True
    shape_space: str = SMPL


def filter_person(
    person: PersonAnnotation, filters: Filters, counts: Counter[str] | None = None
) -> PersonAnnotation | None:
    """The person with the annotations that pass the filters, or None. counts: gets what was refused, by reason."""
    counts = Counter() if counts is None else counts
    keypoints = person.keypoints_2d.copy()
    weak = (keypoints[:, 2] > 0) & (keypoints[:, 2] < filters.least_confidence)
    keypoints[weak, 2] = 0
    has_pose, has_betas = person.has_body_pose, person.has_betas
    if has_betas and (np.abs(person.betas) > filters.largest_beta).any():
        counts["shape refused: a beta is too large"] += 1
        if filters.discard_bad_fits:
            return None
        has_betas = False
    if has_pose and filters.histogram is not None and not filters.histogram.is_probable(person.body_pose[None, 3:])[0]:
        counts["pose refused: improbable"] += 1
        if filters.discard_bad_fits:
            return None
        has_pose = False
    if filters.pose_needs_shape:
        has_pose = has_betas = has_pose and has_betas
    if filters.needs_pose and not has_pose:
        counts["left out: no pose"] += 1
        return None
    if (keypoints[:, 2] > 0).sum() <= filters.more_keypoints_than:
        counts["left out: too few keypoints"] += 1
        return None
    loss = person.reprojection_loss
    if loss is not None and not loss < filters.largest_reprojection_loss:
        counts["left out: the fit is too far from the keypoints"] += 1
        return None
    if filters.smallest_box > 0 and not person.box_size.min() > filters.smallest_box:
        counts["left out: the box is too small"] += 1
        return None
    betas = person.betas
    has_betas = has_betas and person.shape_space == filters.shape_space
    if filters.regularise_betas and not has_betas:
        betas, has_betas = np.zeros_like(betas), True
    return replace(person, keypoints_2d=keypoints, betas=betas, has_body_pose=has_pose, has_betas=has_betas)
