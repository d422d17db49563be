"""Text files of settings and annotations: JSON, YAML and lines, read within bounds."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.budget import MEMORY_PER_BYTE, SPARE_MEMORY, one_line

MAX_LINE = 20_000  # characters
MAX_YAML = 1 << 17  # bytes; settings take a few thousand, and the parser reads about 100 000 a second
MAX_NODES = 100_000  # of a YAML document whose aliases are written out


def read_text(path: Path | str, limit: int | None = None) -> str:
    """A UTF-8 file, with or without a byte order mark. limit: bytes that it may have.

    Raises: FourDHumansError naming the file, if it is missing, too large or no text.
    """
    path = Path(path)
    try:
        if limit is not None and path.stat().st_size > limit:
            raise FourDHumansError(f"{path} refused: it has more than {limit} bytes")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FourDHumansError(f"{path} is no text file") from error


def read_lines(path: Path | str) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends.

    Raises: FourDHumansError naming the file, if it is missing or no text, or has a line without end.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            while line := file.readline(MAX_LINE):
                if len(line) == MAX_LINE and not line.endswith("\n"):
                    raise FourDHumansError(f"{path} refused: it has a line of more than {MAX_LINE} characters")
                yield line.rstrip("\n")
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FourDHumansError(f"{path} is no text file") from error


def read_csv(path: Path | str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with their numbers, from 1. Raises: FourDHumansError naming the file, as `read_lines`."""
    rows = csv.reader(f"{line}\n" for line in read_lines(path))
    try:
        yield from enumerate(rows, start=1)
    except csv.Error as error:
        raise FourDHumansError(f"{path}, line {rows.line_num}: {one_line(error)}") from error


def read_json(path: Path | str) -> Any:
    """What a JSON file holds. Raises: FourDHumansError naming the file, if it cannot be read or is no JSON."""
    text = read_text(path)
    memory = 240 * text.count("{") + 64 * text.count("[") + 40 * text.count(",") + 60 * text.count('"')
    if memory > MEMORY_PER_BYTE * len(text) + SPARE_MEMORY:
        raise FourDHumansError(f"{path} refused: it would take far more memory than a file of its size should")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FourDHumansError(f"{path} is no json: {one_line(error)}") from error


def read_yaml(path: Path | str) -> Any:
    """What a YAML file of settings holds. Raises: FourDHumansError naming the file, as for `parse_yaml`."""
    text = read_text(path, MAX_YAML)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise FourDHumansError(f"cannot read {path}: {one_line(error)}") from error


def parse_yaml(text: str) -> Any:
    """The containers, numbers and text that a YAML document stands for.

    Raises: ValueError for what is no YAML, or a document whose aliases stand for far more than is written.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _written_out(node, {}) > MAX_NODES:
                raise ValueError("its aliases stand for far more than is written")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError, LookupError) as error:
        raise ValueError(one_line(error)) from error


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes a document has where every alias is replaced by what it stands for."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # of a node inside itself
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]
