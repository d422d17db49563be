"""What the settings of all stages have in common: the base class, and validation errors as one line.

Modules with settings import neither torch nor numba, so that the command line answers quickly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import ErrorDetails

DEVICE = r"^(auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$"  # torch's names of devices that can run the networks


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("takes a number, not true or false")
    return value


Integer = Annotated[int, Strict()]
Number = Annotated[float, BeforeValidator(_no_boolean)]
Share = Annotated[Number, Field(ge=0, le=1)]
Pixels = Annotated[Number, Field(ge=0, le=100_000)]
Precision = Literal["float32", "bfloat16", "float16"]
PrecisionOrAuto = Literal["auto", "float32", "bfloat16", "float16"]


class Settings(BaseModel):
    """Settings of one stage: immutable, checked when they are made.

    The line below a field is its description, which ``4dhumans config`` prints.

    Raises: pydantic.ValidationError for an unknown name or a value of the wrong type or out of range. Through
    `fourd_humans.config` this becomes a UsageError with the full name of the setting.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def split_list(value: Any) -> Any:
    """Items of a list that may be given as text with commas; for `pydantic.BeforeValidator`."""
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else value


def explain(errors: Sequence[ErrorDetails], name: str) -> str:
    """One line that says what is wrong with the value of the setting `name`.

    errors: the first counts; of a setting with several kinds of values, one for each kind.
    """
    error, context = errors[0], errors[0].get("ctx", {})
    if error["type"] == "union_tag_invalid":
        choices = str(context["expected_tags"]).replace("'", "")
        return f"'{name}.backend' must be one of {choices}, not '{short(context['tag'])}'"
    if error["type"] == "value_error":
        return f"'{name}' {context['error']}"
    if error["type"] in ("too_short", "too_long"):
        limit, count = ("least", "min_length") if error["type"] == "too_short" else ("most", "max_length")
        return f"'{name}' takes at {limit} {context[count]} value{'' if context[count] == 1 else 's'}"
    return f"'{name}' must be {' or '.join(map(_expected, errors))}, not '{short(error['input'])}'"


def _expected(error: ErrorDetails) -> str:
    """What should have been there."""
    context = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch" and context["pattern"] == DEVICE:
        return "auto, cpu, cuda, cuda:1, mps or the like"
    if error["type"] == "literal_error":
        return f"one of {context['expected']}".replace(" or ", ", ").replace("'", "")
    if error["type"].startswith("bool_"):
        return "true or false"
    if error["type"].startswith("float_"):
        return "a number"
    what = error["msg"].removeprefix("Input should be ").replace("a valid string", "text")
    what = what.replace("a valid integer", "an integer")
    return what.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")


def short(value: Any) -> str:
    """The value in at most 60 characters on one line, whatever is in it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) > 10**40:
        return "an integer of more than 40 digits"
    if not isinstance(value, str | int | float):
        return f"a {'mapping' if isinstance(value, Mapping) else type(value).__name__}"
    line = " ".join(str(value)[:200].split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def deep_update(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the nested mapping `changes` on top."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = deep_update(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def nested(key: Sequence[str], value: Any) -> Any:
    """``nested(["a", "b"], 1)`` is ``{"a": {"b": 1}}``."""
    for part in reversed(key):
        value = {part: value}
    return value
