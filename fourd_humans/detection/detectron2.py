"""ViTDet as detectron2 runs it, with the same checkpoint, where detectron2 is installed.

Only the network is detectron2's: batches, limits and masks at the frame's size are those of our own stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from fourd_humans import checkpoints
from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.detection.settings import Detectron2Settings
from fourd_humans.detection.vitdet.boxes import ANCHOR_SIZES, ASPECT_RATIOS, STRIDES
from fourd_humans.detection.vitdet.cascade import DELTA_WEIGHTS
from fourd_humans.detection.vitdet.model import PIXEL_MEAN, PIXEL_STD, Instances, padded
from fourd_humans.detection.vitdet.stage import ViTDetDetector, options_of
from fourd_humans.errors import UsageError

LEVELS = ["p2", "p3", "p4", "p5", "p6"]


def detectron2_detector(path: Path | str | None, device: torch.device | str, **options: Any) -> ViTDetDetector:
    """The detector stage on detectron2's network. `options` are those of `ViTDetDetector`.

    Raises: UsageError if detectron2 or the weights (None: the installed ones) are not there.
    """
    path = path or checkpoints.find("vitdet-h")
    if path is None:
        raise UsageError("the weights of ViTDet-H are not installed: '4dhumans models download vitdet-h' fetches them")
    network = Detectron2ViTDet(width=1280, depth=32, heads=16, window_blocks=tuple(i for i in range(32) if i % 8 != 7))
    load_strictly(network.model, load_state_dict(path), path)
    return ViTDetDetector(network, device, **options)


def build(settings: Detectron2Settings, device: str) -> ViTDetDetector:
    """The detector that the settings ask for. Raises: as `detectron2_detector`."""
    return detectron2_detector(settings.checkpoint, device, **options_of(settings))


class Detectron2ViTDet(nn.Module):
    """detectron2's network with the arguments and methods of our `ViTDet`; ``model`` is the `GeneralizedRCNN`."""

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        window_blocks: tuple[int, ...],
        window_size: int = 14,
        image_size: int = 1024,
        pretraining_size: int = 224,
        channels: int = 256,
        box_convolutions: tuple[int, ...] = (256, 256, 256, 256),
        box_hidden: int = 1024,
        mask_convolutions: tuple[int, ...] = (256, 256, 256, 256),
        classes: int = 80,
    ) -> None:
        super().__init__()
        try:
            from detectron2 import layers, modeling
            from detectron2.modeling import anchor_generator, box_regression, matcher, poolers, roi_heads
            from detectron2.modeling.backbone.fpn import LastLevelMaxPool
            from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
        except ImportError as error:
            raise UsageError(
                "detection.backend 'detectron2' needs detectron2, which has to be built from its source "
                "(github.com/facebookresearch/detectron2); 'vitdet' is the same network without it"
            ) from error

        backbone = modeling.SimpleFeaturePyramid(
            net=modeling.ViT(
                img_size=image_size,
                embed_dim=width,
                depth=depth,
                num_heads=heads,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=window_size,
                window_block_indexes=list(window_blocks),
                pretrain_img_size=pretraining_size,
            ),
            in_feature="last_feat",
            out_channels=channels,
            scale_factors=(4.0, 2.0, 1.0, 0.5),
            top_block=LastLevelMaxPool(),
            square_pad=image_size,
        )
        # Matchers and sampling serve training alone, but the constructors ask for them.
        match = matcher.Matcher([0.5], [0, 1], allow_low_quality_matches=False)
        sampling = {"batch_size_per_image": 1, "positive_fraction": 0.5}
        proposals = RPN(
            in_features=LEVELS,
            head=StandardRPNHead(in_channels=channels, num_anchors=len(ASPECT_RATIOS), conv_dims=[-1, -1]),
            anchor_generator=anchor_generator.DefaultAnchorGenerator(
                sizes=[[size] for size in ANCHOR_SIZES],
                aspect_ratios=list(ASPECT_RATIOS),
                strides=list(STRIDES),
                offset=0.0,
            ),
            anchor_matcher=match,
            box2box_transform=box_regression.Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
            pre_nms_topk=(1000, 1000),
            post_nms_topk=(1000, 1000),
            nms_thresh=0.7,
            **sampling,
        )

        def pooler(size: int) -> nn.Module:
            scales = [1 / stride for stride in STRIDES[:4]]
            return poolers.ROIPooler(output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")

        heads_of_regions = roi_heads.CascadeROIHeads(
            num_classes=classes,
            box_in_features=LEVELS[:4],
            box_pooler=pooler(7),
            box_heads=[
                roi_heads.FastRCNNConvFCHead(
                    layers.ShapeSpec(channels=channels, height=7, width=7),
                    conv_dims=list(box_convolutions),
                    fc_dims=[box_hidden],
                    conv_norm="LN",
                )
                for _ in DELTA_WEIGHTS
            ],
            box_predictors=[
                roi_heads.FastRCNNOutputLayers(
                    layers.ShapeSpec(channels=box_hidden),
                    box2box_transform=box_regression.Box2BoxTransform(weights=(shift, shift, growth, growth)),
                    num_classes=classes,
                    cls_agnostic_bbox_reg=True,
                )
                for shift, growth in DELTA_WEIGHTS
            ],
            proposal_matchers=[match for _ in DELTA_WEIGHTS],
            mask_in_features=LEVELS[:4],
            mask_pooler=pooler(14),
            mask_head=roi_heads.MaskRCNNConvUpsampleHead(
                layers.ShapeSpec(channels=channels, height=14, width=14),
                num_classes=classes,
                conv_dims=[*mask_convolutions, mask_convolutions[-1]],
                conv_norm="LN",
            ),
            **sampling,
        )
        self.image_size = image_size
        self.classes = classes
        self.model = modeling.GeneralizedRCNN(
            backbone=backbone,
            proposal_generator=proposals,
            roi_heads=heads_of_regions,
            pixel_mean=PIXEL_MEAN,
            pixel_std=PIXEL_STD,
            input_format="RGB",
        )

    @property
    def backbone(self) -> nn.Module:
        return self.model.backbone

    def features(self, images: Sequence[Tensor], size: int | None = None) -> list[Tensor]:
        """See `ViTDet.features`."""
        maps = self.model.backbone(torch.stack([padded(image, size or self.image_size) for image in images]))
        return [maps[level] for level in LEVELS]

    def detect(
        self,
        features: Sequence[Tensor],
        sizes: Tensor,
        *,
        score_threshold: float,
        nms_threshold: float = 0.5,
        classes: Sequence[int] | None = None,
        max_detections: int = 100,
        rounds: int | None = None,
    ) -> Instances:
        """See `ViTDet.detect`; `rounds` has no meaning here, and detectron2 waits for the device."""
        from detectron2.structures import ImageList

        maps = dict(zip(LEVELS, features, strict=True))
        height, width = (STRIDES[0] * side for side in features[0].shape[-2:])
        of_images = [(int(h), int(w)) for h, w in sizes.tolist()]
        pictures = ImageList(features[0].new_zeros(len(sizes), 0, height, width), of_images)
        last = self.model.roi_heads.box_predictor[-1]
        last.test_score_thresh, last.test_nms_thresh = score_threshold, nms_threshold
        last.test_topk_per_image = max_detections
        proposals, _ = self.model.proposal_generator(pictures, maps)
        # The public method would go on to the masks of everything that is found.
        found = self.model.roi_heads._forward_box(maps, proposals)
        wanted = [
            torch.ones_like(each.scores, dtype=torch.bool)
            if classes is None
            else torch.isin(each.pred_classes, each.pred_classes.new_tensor(list(classes)))
            for each in found
        ]
        return Instances(
            pad_sequence([each.pred_boxes.tensor[w] for each, w in zip(found, wanted, strict=True)], batch_first=True),
            pad_sequence([each.scores[w] for each, w in zip(found, wanted, strict=True)], batch_first=True),
            pad_sequence([each.pred_classes[w] for each, w in zip(found, wanted, strict=True)], batch_first=True),
            torch.ones(len(found), dtype=torch.bool, device=sizes.device),
        )

    def masks(self, features: Sequence[Tensor], boxes: Tensor, pictures: Tensor, classes: Tensor) -> Tensor:
        """See `ViTDet.masks`."""
        from detectron2.structures import Boxes
        from detectron2.structures import Instances as TheirInstances

        maps = dict(zip(LEVELS, features, strict=True))
        size = tuple(STRIDES[0] * side for side in features[0].shape[-2:])
        rows = [torch.nonzero(pictures == i)[:, 0] for i in range(len(features[0]))]
        given = [TheirInstances(size, pred_boxes=Boxes(boxes[r]), pred_classes=classes[r]) for r in rows]
        found = self.model.roi_heads.forward_with_given_boxes(maps, given)
        masks = boxes.new_zeros(len(boxes), 28, 28)
        for r, each in zip(rows, found, strict=True):
            masks[r] = each.pred_masks[:, 0].float()
        return masks
