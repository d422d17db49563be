"""What MkDocs does for the documentation site beyond its plugins (see mkdocs.yml).

README, CHANGELOG and CONTRIBUTING become pages. A document that is named as ``docs/motion.md`` becomes a link.
Docstrings, whose fields are written as ``name: meaning`` on lines of their own, get lists of them.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
TEXT_FILES = {"LICENSE": "license.md", "NOTICE": "notice.md"}
CODE = re.compile(r"((?s:```.*?```)|^(?: {4}.*\n)+|`[^`\n]+`)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
NAMED = re.compile(r"(?<![\w/\[(])docs/(\w+)\.md(?!\))")
FIELD = re.compile(r"(?P<name>[A-Za-z_][\w]*(?:, [a-z_]\w*)*(?: \([^)]*\))?): (?P<meaning>\S.*)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents that stand outside docs/."""
    root = Path(config.config_file_path).parent
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(root / name).read_text(encoding="utf-8")))
    for name, page in TEXT_FILES.items():
        text = (root / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=f"# {name}\n\n```text\n{text}\n```\n"))
    card = root / "fourd_humans/actions/data/MODEL_CARD.md"
    files.append(File.generated(config, "action_model_card.md", content=card.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the site's pages, and make links of documents that are named in the text."""
    own = page.file.src_uri
    here = posixpath.dirname(own)

    def target(path: str) -> str:
        if own in PAGES.values():  # written for the root of the repository
            path = PAGES.get(path, TEXT_FILES.get(path, path.removeprefix("docs/")))
        else:
            name = posixpath.basename(path)
            path = TEXT_FILES.get(name, "action_model_card.md" if name == "MODEL_CARD.md" else path)
        return path

    def relink(match: re.Match[str]) -> str:
        return f"]({target(match[1])}{match[2] or ''})"

    def named(match: re.Match[str]) -> str:
        page_path = f"{match[1]}.md"
        if files.get_file_from_path(page_path) is None:
            return match[0]
        return f"[{match[1].replace('_', ' ')}]({posixpath.relpath(page_path, here or '.')})"

    parts = CODE.split(markdown)
    parts[::2] = [NAMED.sub(named, LINK.sub(relink, part)) for part in parts[::2]]
    return "".join(parts)


class FieldLists(griffe.Extension):
    """Docstrings as Markdown: fields as lists, examples as code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """The docstring with ``name: meaning`` lines as list items and ``>>>`` examples as code blocks."""
    lines: list[str] = []
    in_list = in_code = False
    for line in docstring.splitlines():
        if line.startswith(">>>") and not in_code:
            lines += ["", "```python"]
            in_code = True
        elif in_code and not line.strip():
            lines.append("```")
            in_code = False
        match = None if in_code else FIELD.fullmatch(line)
        if match and lines:
            # Several fields may share a line: "frames: (T,) numbers. times: (T,) seconds."
            items = re.split(r"(?<=[.;]) (?=[a-z_]+(?:, [a-z_]+)*: )", line)
            lines += ([] if in_list else [""]) + ["- **{}**: {}".format(*item.split(": ", 1)) for item in items]
            in_list = True
        elif in_list and line.strip() and not in_code:
            lines.append(f"  {line}")
        else:
            in_list = in_list and in_code
            lines.append(line)
    return "\n".join(lines + (["```"] if in_code else []))
