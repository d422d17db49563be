"""What the documents say of settings and files is what the code has."""

import re
from pathlib import Path

import pytest
import yaml

from fourd_humans.config import Config, apply_settings, default_config
from fourd_humans.detection.settings import Detectron2Settings, PrecomputedSettings
from fourd_humans.errors import UsageError
from fourd_humans.recovery.settings import HMR2Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = [
    default_config("lite"),
    default_config("paper"),
    Config(detection=Detectron2Settings(), recovery=HMR2Settings()),
    Config(detection=PrecomputedSettings()),
]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, row by row, headings first."""
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()] for table in found]
    return [[table[0], *table[2:]] for table in rows]


def table_with(text: str, *headings: str) -> list[dict[str, str]]:
    (table,) = [table for table in tables(text) if set(headings) <= set(table[0])]
    return [dict(zip(table[0], row, strict=True)) for row in table[1:]]


def test_defaults_of_the_detectors():
    text = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    documented: dict[str, dict[str, object]] = {"lite": {}, "paper": {}}
    for row in table_with(text, "setting", "`lite`", "`paper`"):
        for key in re.findall(r"`(\w+)`", row["setting"]):
            for model, values in documented.items():
                if row[f"`{model}`"] != "–":
                    values[key] = yaml.safe_load(row[f"`{model}`"].strip("`"))
    for model, values in documented.items():
        settings = default_config(model).detection.model_dump(exclude={"backend"})
        assert values == settings


@pytest.mark.parametrize(("document", "group"), [("rendering.md", "render")])
def test_defaults_of_a_group(document, group):
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    documented = {}
    for row in table_with(text, "setting", "default"):
        key = row["setting"].strip("`")
        assert key.startswith(f"{group}."), key
        documented[key.removeprefix(f"{group}.")] = yaml.safe_load(row["default"].strip("`"))
    assert documented == getattr(default_config(), group).model_dump(mode="json")


def test_defaults_within_sentences():
    """Written as `group.key` (value)."""
    found = 0
    for document in DOCUMENTS:
        for key, value in re.findall(r"`(\w+\.\w+)` \(([\d.]+)\)", document.read_text(encoding="utf-8")):
            group, name = key.split(".")
            assert getattr(getattr(default_config(), group), name) == float(value), f"{document.name}: {key}"
            found += 1
    assert found >= 6


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_in_examples_exist(document):
    text = document.read_text(encoding="utf-8")
    for setting in re.findall(r"--set (\w+\.\w+=[^\s`',;)]+)", text):
        if setting.endswith(("=yolo", "KEY=VALUE")):
            continue  # examples of the form

        def accepts(config, setting=setting):
            try:
                return apply_settings(config, [setting])
            except UsageError:
                return None

        assert any(accepts(config) for config in CONFIGS), f"{document.name}: --set {setting}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document):
    text = document.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text):
        if re.match(r"(fourd_humans|tests|docs|configs|benchmarks|bin|\.github|\.ci|demo_videos)/", name):
            assert (ROOT / name).exists() or name.endswith(("/yolo.py", "/NAME.py")), f"{document.name}: {name}"
