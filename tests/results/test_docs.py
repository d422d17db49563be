"""The examples of the manual run."""

import re
from pathlib import Path

import pytest

from fourd_humans.results import ResultWriter

MANUAL = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(tmp_path, monkeypatch, make_frame, number):
    monkeypatch.chdir(tmp_path)
    Path("outputs").mkdir()
    with ResultWriter("outputs/video.pkl") as writer:
        for index in range(3):
            writer.write(make_frame(index, index))
    exec(compile(EXAMPLES[number], "docs/results.md", "exec"), {})


def test_every_field_is_explained(make_frame):
    from fourd_humans.results.phalp_format import to_entry

    entry = to_entry(make_frame(texture=True), "0", textures=True)
    assert [key for key in [*entry, *entry["extra_data"][0], *entry["smpl"][0]] if f"`{key}`" not in MANUAL] == []
