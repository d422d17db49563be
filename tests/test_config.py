import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from fourd_humans import stages
from fourd_humans.config import ShotSettings, apply_settings, default_config, keys, load_config, to_yaml
from fourd_humans.detection.settings import AnyDetectorSettings, MoveNetSettings, ViTDetSettings
from fourd_humans.errors import UsageError
from fourd_humans.recovery.settings import AnyRecoverySettings, HMR2Settings
from fourd_humans.rendering.settings import RenderSettings
from fourd_humans.tracking.settings import TrackingSettings

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("model", ["lite", "paper"])
def test_written_out_defaults_are_the_defaults(model):
    """After a change of the defaults: 4dhumans config MODEL > configs/MODEL.yaml"""
    assert (CONFIGS / f"{model}.yaml").read_text() == to_yaml(default_config(model), comments=True)
    assert load_config(CONFIGS / f"{model}.yaml") == default_config(model)


def test_settings_reach_nested_fields_and_keep_their_types():
    config = apply_settings(
        default_config(),
        [
            "tracking.max_age=60",
            "camera.focal_length=1000",
            "render.views=[overlay, top]",
            "motion.checkpoint=a.ckpt",
        ],
    )
    assert config.tracking.max_age == 60
    assert config.camera.focal_length == 1000.0
    assert isinstance(config.camera.focal_length, float)
    assert config.render.views == ("overlay", "top")
    assert config.motion.checkpoint == "a.ckpt"
    assert apply_settings(config, ["camera.focal_length=null"]).camera.focal_length is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tracking.max_ago=60", "did you mean 'tracking.max_age'"),
        ("max_age=60", "did you mean 'tracking.max_age'"),
        ("trakcing.max_age=60", "did you mean"),
        ("detection.nms_tresh=1", "did you mean 'detection.nms_threshold'"),
        ("tracking.zzz=1", "known here: tracking.history, "),
        ("nothing.like.it=1", "known here: model, device, "),
        ("tracking.max_age=many", "must be an integer, not 'many'"),
        ("tracking.max_age=true", "must be an integer, not 'true'"),
        ("tracking.max_age=1.5", "must be"),
        ("tracking.threshold=true", "takes a number"),
        ("motion.complete=perhaps", "true or false, not 'perhaps'"),
        ("tracking=3", "group of settings"),
        ("model=huge", "one of lite, paper"),
        ("model=paper", "--model"),
        ("tracking.max_age", "key=value"),
        ("tracking.max_age=[", "cannot be read"),
        ("tracking.max_age=" + "9" * 5000, "cannot be read"),
        ("tracking.max_age=" + "[" * 5000, "cannot be read"),
        ("tracking.max_age=0x" + "f" * 5000, "at most 100000"),
        ("motion.checkpoint=0x" + "f" * 5000, "must be text, not 'an integer of more than 40 digits'"),
        # ranges
        ("tracking.max_age=-1", "at least 0"),
        ("tracking.history=1000000000", "at most 1000, not '1000000000'"),
        ("tracking.history=2", "at least 3"),
        ("tracking.min_hits=0", "at least 1"),
        ("tracking.threshold=.nan", "finite number"),
        ("tracking.texture_mixing=1.1", "at most 1"),
        ("detection.score_threshold=-0.1", "at least 0"),
        ("detection.batch_size=0", "at least 1"),
        ("detection.min_width=.inf", "finite number"),
        ("detection.image_size=5", "at least 64"),
        ("shots.threshold=256", "at most 255"),
        ("camera.focal_length=1e300", "at most"),
        ("camera.focal_length=0", "at least"),
        ("camera.field_of_view=180", "at most"),
        ("camera.intrinsics=[1, 2]", "at least 9 values"),
        ("camera.intrinsics=[1, 0, 5, 0, 1, 5, 0, 0, 1, 0]", "at most 9 values"),
        ("camera.intrinsics=[1, 0, 5, 0, -1, 5, 0, 0, 1]", "form fx 0 cx 0 fy cy 0 0 1"),
        ("camera={focal_length: 5, field_of_view: 60}", "takes one of focal_length, field_of_view"),
        ("render.views=[]", "at least 1 value"),
        ("render.views=front", "one of overlay, side, top, not 'front'"),
        ("render.views=side,side", "each view once"),
        ("render.alpha=2", "at most 1"),
        ("render.supersample=9", "at most 8"),
        ("render.quality=52", "at most 51"),
        ("render.depth_scale=0", "at least"),
        ("render.level=up", "'render.level' must be one of auto, none or a number, not 'up'"),
        ("render.level=90", "'render.level' must be one of auto, none or less than 90, not '90'"),
        ("device=meta", "auto, cpu, cuda"),
        # backends
        ("detection.backend=yolo", "'detection.backend' must be one of movenet, vitdet, detectron2, precomputed"),
        ("recovery.backend=[1]", "'recovery.backend' must be one of landmarks, hmr2"),
        ("recovery.precision=float16", "'recovery.precision' is a setting of hmr2, and recovery.backend is landmarks"),
        ("detection.compile=true", "is a setting of vitdet and detectron2, and detection.backend is movenet"),
        ("detection={backend: vitdet, image_size: 1000}", "multiple of 32"),
        ("detection={backend: precomputed, score_threshold: 0.5}", "is a setting of movenet and vitdet and detectron2"),
        ("motion={predictor: hold, checkpoint: a.ckpt}", "no checkpoint"),
    ],
)
def test_wrong_settings_are_reported_in_one_line(setting, message):
    with pytest.raises(UsageError, match=message) as caught:
        apply_settings(default_config(), [setting])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["tracking: [", "- a list", "tracking:\n  max_ago: 3\n", "tracking:\n  max_age: x\n",
    "model: huge", "[" * 5000, "tracking: {max_age: " + "9" * 5000 + "}", "1: 2", f"#{'x' * 1_000_000}"])  # fmt: skip
def test_wrong_files_are_reported_with_their_name(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"my\.yaml"):
        load_config(path)


def test_values_that_expand_without_end_are_reported_at_once(tmp_path):
    """Each anchor stands for ten of the one before: printed in full, the value would have 10^20 items."""
    path = tmp_path / "my.yaml"
    lines = ["a: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 21)]
    path.write_text("\n".join(lines).replace("a: &a0", "a0: &a0") + "\ntracking: {max_age: *a20}\n")
    with pytest.raises(UsageError) as caught:
        load_config(path)
    assert len(str(caught.value)) < 400


def test_the_first_of_several_wrong_settings_is_reported():
    with pytest.raises(UsageError, match=r"'render\.level' must be one of auto, none or a number, not 'up'$"):
        apply_settings(default_config(), ["render.quality=99", "render.level=up"])


def test_another_backend_brings_its_own_defaults_and_the_order_does_not_matter():
    changed = apply_settings(default_config(), ["detection.score_threshold=0.4", "detection.backend=vitdet"])
    assert changed.detection == ViTDetSettings(score_threshold=0.4)
    assert changed.recovery == default_config().recovery


def test_names_of_all_backends_lead_to_a_module():
    kinds = {"detection": (AnyDetectorSettings, stages.DETECTORS), "recovery": (AnyRecoverySettings, stages.RECOVERIES)}
    for union, modules in kinds.values():
        settings = get_args(get_args(union)[0])
        assert [kind.model_fields["backend"].default for kind in settings] == list(modules)
        for module, kind in zip(modules.values(), settings, strict=True):
            build = importlib.import_module(module).build
            assert get_type_hints(build)["settings"] is kind


@pytest.mark.parametrize("model", ["lite", "paper"])
def test_every_setting_has_a_line_of_meaning(model):
    for line in to_yaml(default_config(model), comments=True).splitlines():
        assert line.endswith(":") or len(line.partition("  # ")[2]) > 8, line


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        (MoveNetSettings, "fourd_humans.detection.movenet:MoveNetDetector"),
        (ViTDetSettings, "fourd_humans.detection.vitdet.stage:ViTDetDetector"),
        (HMR2Settings, "fourd_humans.recovery.hmr2.stage:HMR2Recovery"),
        (TrackingSettings, "fourd_humans.tracking.tracker:Tracker"),
        (RenderSettings, "fourd_humans.rendering.renderer:Renderer"),
        (ShotSettings, "fourd_humans.video.cuts:CutDetector"),
    ],
)
def test_defaults_of_settings_are_those_of_the_classes(settings, stage):
    """But for what a class takes from its network, None there."""
    module, name = stage.split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    shared = [field for field in settings.model_fields if field in parameters]
    assert len(shared) >= min(3, len(settings.model_fields) - 1)
    for field in shared:
        assert parameters[field].default in (None, settings.model_fields[field].default), field


def test_settings_import_without_torch_and_numba():
    code = "import sys, fourd_humans.config, fourd_humans.cli.track; print({'torch', 'numba'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_config(path, default_config("paper")) == default_config("paper")


def test_keys_are_all_settable_leaves():
    assert "tracking.max_age" in keys(default_config())
    assert "tracking" not in keys(default_config())
