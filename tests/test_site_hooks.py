"""What the documentation site makes of documents and docstrings. Needs the extra `docs`."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("griffe")
sys.path.insert(0, str(Path(__file__).parents[1] / "bin"))

from mkdocs.structure.files import File, Files
from site_hooks import as_markdown, on_page_markdown


class Page:
    def __init__(self, path):
        self.file = File(path, "docs", "site", use_directory_urls=False)


FILES = Files([File(path, "docs", "site", use_directory_urls=False) for path in ("motion.md", "body.md", "index.md")])


def test_named_documents_become_links_but_not_in_code():
    text = "See docs/motion.md and `docs/motion.md`, docs/absent.md.\n\n    cat docs/motion.md\n"
    expected = "See [motion](motion.md) and `docs/motion.md`, docs/absent.md.\n\n    cat docs/motion.md\n"
    assert on_page_markdown(text, Page("body.md"), None, FILES) == expected
    assert "(../motion.md)" in on_page_markdown("docs/motion.md", Page("api/results.md"), None, FILES)


def test_links_of_the_readme_are_those_of_the_site():
    text = "[motion](docs/motion.md#training), [changes](CHANGELOG.md), [NOTICE](NOTICE), ![x](docs/demo.webp)"
    expected = "[motion](motion.md#training), [changes](changelog.md), [NOTICE](notice.md), ![x](demo.webp)"
    assert on_page_markdown(text, Page("index.md"), None, FILES) == expected


def test_docstring_fields_become_a_list_and_examples_code():
    docstring = "What it is.\n\nboxes: (N, 4) pixels. scores: (N,)\nin 0..1.\nRaises: OSError.\n\n>>> f(1)\n2"
    assert as_markdown(docstring).splitlines() == [
        "What it is.",
        "",
        "",
        "- **boxes**: (N, 4) pixels.",
        "- **scores**: (N,)",
        "  in 0..1.",
        "- **Raises**: OSError.",
        "",
        "",
        "```python",
        ">>> f(1)",
        "2",
        "```",
    ]


def test_a_first_line_with_a_colon_is_a_sentence():
    assert as_markdown("People: found in video.") == "People: found in video."
