"""The page in the package is what its sources make."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_the_page_in_the_package_is_built_from_its_sources(tmp_path):
    subprocess.run([ROOT / "bin" / "build_viewer_page.sh", tmp_path / "page.html"], check=True)
    built = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert built == (ROOT / "fourd_humans" / "viewer" / "data" / "page.html").read_text(encoding="utf-8")
