"""The published model files that this package can use: where they come from, on what terms, and what is inside.

Sizes are rounded; checksums are given where the publisher's are known, and otherwise recorded at the first download.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

BERKELEY = "https://people.eecs.berkeley.edu/~jathushan/projects/4dhumans"
PHALP = "https://www.cs.utexas.edu/~pavlakos/phalp"


@dataclass(frozen=True)
class Download:
    """One file to fetch.

    members: of an archive, the files to take out of it, by their path inside; they are stored under their last name.
    sha256: of the file as downloaded, or None where the publisher gives none.
    """

    url: str
    members: tuple[str, ...] = ()
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of the files that come of it."""
        return tuple(PurePosixPath(member).name for member in self.members) or (self.name,)


@dataclass(frozen=True)
class Entry:
    """Something to install under one name. main: the file that is loaded. gigabytes: of the weights, about, or None."""

    name: str
    title: str
    main: str
    downloads: tuple[Download, ...]
    gigabytes: float | None
    licence: str
    source: str


_HMR2_CHECKPOINT = "logs/train/multiruns/hmr2/0/checkpoints/epoch=35-step=1000000.ckpt"
_HMR2_CONFIG = "logs/train/multiruns/hmr2/0/model_config.yaml"
_RESEARCH = "MIT, as the code it comes with; the training data have terms of their own"

# What the published system consists of, apart from SMPL. Tracking needs the first two and can do without the others.
PAPER = ("hmr2b", "vitdet-h", "pose-predictor", "texture-encoder", "smpl-texture")

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "hmr2b",
            "HMR 2.0b, body recovery (the default of the paper model)",
            "epoch=35-step=1000000.ckpt",
            (
                Download(
                    f"{BERKELEY}/hmr2_data.tar.gz",
                    (_HMR2_CHECKPOINT, _HMR2_CONFIG, "data/SMPL_to_J19.pkl", "data/smpl_mean_params.npz"),
                ),
            ),
            2.7,
            _RESEARCH,
            "https://github.com/shubham-goel/4D-Humans",
        ),
        Entry(
            "hmr2a",
            "HMR 2.0a, body recovery",
            "epoch=35-step=1000000.ckpt",
            (Download(f"{BERKELEY}/hmr2a_model.tar.gz", (_HMR2_CHECKPOINT, _HMR2_CONFIG)),),
            2.7,
            _RESEARCH,
            "https://github.com/shubham-goel/4D-Humans",
        ),
        Entry(
            "vitdet-h",
            "ViTDet-H Cascade Mask R-CNN on COCO, detection",
            "model_final_f05665.pkl",
            (
                Download(
                    "https://dl.fbaipublicfiles.com/detectron2/ViTDet/COCO/cascade_mask_rcnn_vitdet_h/f328730692/"
                    "model_final_f05665.pkl"
                ),
            ),
            2.8,
            "Apache-2.0 (code); models of detectron2's zoo CC BY-SA 3.0",
            "https://github.com/facebookresearch/detectron2/tree/main/projects/ViTDet",
        ),
        Entry(
            "pose-predictor",
            "PHALP's pose transformer, motion",
            "pose_predictor_40006.ckpt",
            (
                Download(f"{PHALP}/weights/pose_predictor_40006.ckpt"),
                Download(f"{PHALP}/weights/config_40006.yaml"),
                Download(f"{PHALP}/3D/mean_std.npy"),
            ),
            0.1,
            _RESEARCH,
            "https://github.com/brjathu/PHALP",
        ),
        Entry(
            "texture-encoder",
            "HMAR's texture encoder, appearance",
            "hmar_v2_weights.pth",
            (Download(f"{PHALP}/weights/hmar_v2_weights.pth"),),
            None,
            _RESEARCH,
            "https://github.com/brjathu/PHALP",
        ),
        Entry(
            "smpl-texture",
            "texture coordinates for SMPL's own faces",
            "bmap_256.npy",
            (
                Download(f"{PHALP}/bmap_256.npy"),
                Download(f"{PHALP}/fmap_256.npy"),
                Download(f"{PHALP}/3D/texture.npz"),
            ),
            None,
            "non-commercial research, as SMPL",
            "https://github.com/brjathu/PHALP",
        ),
    )
}
