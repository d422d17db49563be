"""Lists of action classes: AVA's, and anybody's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fourd_humans.errors import FourDHumansError

AVA_FILE = Path(__file__).parent / "data" / "ava_classes.yaml"
AVA_ACTIONS = 80
MAX_CLASSES = 10_000


@dataclass(frozen=True)
class ActionClasses:
    """What the outputs of a network mean, in their order.

    names: C names, unique. numbers: C numbers, unique: those of an annotation csv. groups: numbers by
    group, also of classes beyond these; or empty.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def by_number(self) -> dict[int, str]:
        return dict(zip(self.numbers, self.names, strict=True))

    def index(self, action: str) -> int:
        """Output of a class given by its name or number. Raises: KeyError for neither."""
        if action in self.names:
            return self.names.index(action)
        try:
            return self.numbers.index(int(action))
        except ValueError:
            raise KeyError(action) from None

    def to_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "numbers": list(self.numbers),
            "groups": {group: list(members) for group, members in self.groups.items()},
        }

    @staticmethod
    def from_json(values: Any) -> ActionClasses:
        """Raises: ValueError for what is no such list."""
        try:
            names = tuple(str(name) for name in values["names"])
            numbers = tuple(int(number) for number in values["numbers"])
            groups = {str(group): tuple(map(int, members)) for group, members in values["groups"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no list of classes: {error}") from error
        return checked(names, numbers, groups)


def checked(
    names: Sequence[str], numbers: Sequence[int] | None = None, groups: Mapping[str, tuple[int, ...]] | None = None
) -> ActionClasses:
    """Classes with unique names and numbers (1, 2, … by default). Raises: ValueError where they are not."""
    numbers = range(1, len(names) + 1) if numbers is None else numbers
    if not 0 < len(names) <= MAX_CLASSES:
        raise ValueError(f"there must be 1 to {MAX_CLASSES} classes, not {len(names)}")
    if len(set(names)) != len(names) or len(set(numbers)) != len(names) or len(names) != len(numbers):
        raise ValueError("names and numbers of classes must be unique")
    return ActionClasses(tuple(names), tuple(numbers), groups or {})


def ava_classes() -> ActionClasses:
    """AVA's 60 evaluated classes in the order of their numbers, which is that of the released networks' outputs."""
    listed = yaml.safe_load(AVA_FILE.read_text(encoding="utf-8"))
    left_out = set(listed["not_evaluated"])
    names = {n: name for group in listed["groups"].values() for n, name in group.items() if n not in left_out}
    groups = {group: tuple(members) for group, members in listed["groups"].items()}
    numbers = sorted(names)
    return ActionClasses(tuple(names[number] for number in numbers), tuple(numbers), groups)


def read_classes(path: Path | str) -> ActionClasses:
    """A list of classes: an AVA ``.pbtxt`` label map, or a text file with one name a line, numbered from 1.

    Raises: FourDHumansError naming the file where it holds no such list.
    """
    path = Path(path)
    try:
        if path.suffix == ".pbtxt":
            labels = read_label_map(path)
            return checked(list(labels.values()), list(labels))
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        return checked([name for name in names if name and not name.startswith("#")])
    except (ValueError, OSError) as error:
        raise FourDHumansError(f"{path} is not a list of classes: {error}") from error


def read_label_map(path: Path | str) -> dict[int, str]:
    """Numbers and names of the classes in an AVA ``.pbtxt``. Raises: FourDHumansError if there are none."""
    text = Path(path).read_text(encoding="utf-8")
    labels: dict[int, str] = {}
    for item in re.findall(r"\{(.*?)\}", text, re.DOTALL):
        name = re.search(r'name:\s*"([^"]*)"', item)
        number = re.search(r"(?:label_)?id:\s*(\d+)", item)
        if name and number:
            labels[int(number[1])] = name[1]
    if not labels:
        raise FourDHumansError(f"{path} lists no classes: a label map has items with a name and an id")
    return labels
