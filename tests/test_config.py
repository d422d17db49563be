from pathlib import Path

import pytest

from fourd_humans.config import apply_settings, default_config, keys, load_config, to_yaml
from fourd_humans.errors import UsageError

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("model", ["lite", "paper"])
def test_written_out_defaults_are_the_defaults(model):
    """After a change of the defaults: 4dhumans config MODEL > configs/MODEL.yaml"""
    assert (CONFIGS / f"{model}.yaml").read_text() == to_yaml(default_config(model))
    assert load_config(CONFIGS / f"{model}.yaml", default_config()) == default_config(model)


def test_settings_reach_nested_fields_and_keep_their_types():
    config = apply_settings(
        default_config(),
        [
            "tracking.max_age=60",
            "camera.focal_length=1000",
            "render.views=[overlay, top]",
            "recovery.checkpoint=a.ckpt",
        ],
    )
    assert config.tracking.max_age == 60
    assert config.camera.focal_length == 1000.0
    assert isinstance(config.camera.focal_length, float)
    assert config.render.views == ("overlay", "top")
    assert config.recovery.checkpoint == "a.ckpt"
    assert apply_settings(config, ["camera.focal_length=null"]).camera.focal_length is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tracking.max_ago=60", "did you mean 'tracking.max_age'"),
        ("max_age=60", "did you mean 'tracking.max_age'"),
        ("trakcing.max_age=60", "did you mean"),
        ("tracking.max_age=many", "type int"),
        ("tracking.max_age=true", "type int"),
        ("tracking=3", "group of settings"),
        ("model=huge", "one of lite, paper"),
        ("tracking.max_age", "key=value"),
        ("tracking.max_age=[", "cannot be read"),
    ],
)
def test_wrong_settings_are_told_in_one_line(setting, message):
    with pytest.raises(UsageError, match=message) as caught:
        apply_settings(default_config(), [setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["tracking: [", "- a list", "tracking:\n  max_ago: 3\n", "tracking:\n  max_age: x\n"])
def test_wrong_files_are_told_with_their_name(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"my\.yaml"):
        load_config(path, default_config())


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load_config(path, default_config("paper")) == default_config("paper")


def test_keys_are_all_settable_leaves():
    assert "tracking.max_age" in keys(default_config())
    assert "tracking" not in keys(default_config())
