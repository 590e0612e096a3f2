"""Turns what pydantic found into sentences with a line, a column and the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pool.config.choice import Options
from pool.config.marked import Marked, Place

# Names that people bring along from elsewhere, and what they are called here.
_ALSO_KNOWN = {
    "max": "ceiling.clusters",
    "max_clusters": "ceiling.clusters",
    "max_size": "ceiling.clusters",
    "min": "min_idle",
    "min_size": "min_idle",
    "ttl": "idle_ttl",
    "ceilings": "ceiling",
    "logging": "log",
}
_SECRET = ("url", "token")
_NAME = "is not a name; use small letters, digits, '-' and '_', at most 63"
_NO_SECTION = ("model_type", "model_attributes_type", "dict_type")
_PATTERNS = {
    "url": "is not a URL; write one such as http://flyteadmin.flyte",
    "ray_version": "is not a version; write one such as 2.52.0",
    "tenant": "is not a tenant; write one such as project/domain",
}


def report(error: ValidationError, marked: Marked, model: type[BaseModel]) -> None:
    """Add every error that pydantic found in `marked` to its problems."""
    for detail in error.errors(include_url=False):
        _report(detail, marked, model)


def _report(detail: ErrorDetails, marked: Marked, model: type[BaseModel]) -> None:
    place = _place(detail["loc"], marked)
    kind = detail["type"]
    if kind == "extra_forbidden":
        name = str(detail["loc"][-1])
        marked.problem(place, f"unknown setting{_meant(name, _names(model, detail['loc'][:-1]))}", at_key=True)
    elif kind == "missing":
        missing = str(detail["loc"][-1])
        marked.problem((*place, missing), "is missing")
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = _tags(model, detail["loc"])
        tag = detail.get("ctx", {}).get("tag")
        if tag is None:
            marked.problem((*place, "type"), f"is missing; write one of {', '.join(tags)}")
        else:
            at = (*place, "type") if (*place, "type") in marked.values else place
            marked.problem(at, f"{tag!r} is not known{_meant(str(tag), tags, always=True)}")
    elif kind in _NO_SECTION and any(issubclass(m, Options) for m in _sections(model, detail["loc"])):
        known = ", ".join(_tags(model, detail["loc"]))
        marked.problem(place, f"should name a policy, of {known}, or hold its type and options{_not(detail, place)}")
    elif kind in _NO_SECTION:
        names = _names(model, detail["loc"])
        such = f" such as {', '.join(names[:3])}" if names else ""
        marked.problem(place, f"should hold settings{such}{_not(detail, place)}")
    else:
        marked.problem(place, _sentence(detail, place))


def _place(loc: tuple[str | int, ...], marked: Marked) -> Place:
    """Return the part of `loc` that stands in the file; pydantic adds names of union members to it."""
    place: Place = ()
    for part in loc:
        if (*place, part) in marked.values:
            place = (*place, part)
    return place


def _sentence(detail: ErrorDetails, place: Place) -> str:
    kind, given = detail["type"], detail["input"]
    if kind == "literal_error":
        expected = [word.strip("'") for word in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"{given!r} is not known{_meant(str(given), expected, always=True)}"
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind in ("value_error", "assertion_error"):
        return text
    if kind == "list_type":
        text = "should be a list, each entry after a '-'"
    if kind == "string_pattern_mismatch":
        text = _PATTERNS.get(str(place[-1]) if place else "", _NAME)
    return f"{text}{_not(detail, place)}"


def _not(detail: ErrorDetails, place: Place) -> str:
    given = detail["input"]
    shown = isinstance(given, str | int | float | bool | None) and not (place and place[-1] in _SECRET)
    return f", not {_yaml(given)}" if shown else ""


def _yaml(value: object) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _meant(name: str, known: list[str], *, always: bool = False) -> str:
    also = _ALSO_KNOWN.get(name)
    if also is not None and also.split(".")[0] in known:
        return f"; did you mean {also}?"
    begun = [word for word in known if len(name) > 2 and word.startswith(name)]
    near = begun if len(begun) == 1 else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    if always or len(known) <= 12:
        return f"; known are {', '.join(known)}"
    return ""


def _names(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Return the settings that the section at `loc` knows."""
    sections = _sections(model, loc)
    return list(dict.fromkeys(f.alias or name for m in sections for name, f in m.model_fields.items()))


def _sections(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """Return what the section at `loc` may be."""
    models: list[type[BaseModel]] = [model]
    for part in loc:
        if isinstance(part, str):
            tagged = [m for m in models if _tag(m) == part]
            if tagged:
                models = tagged
                continue
            fields = [f for m in models for name, f in m.model_fields.items() if part in (name, f.alias)]
            models = [m for f in fields for m in (*_models(f.annotation), *(n for x in f.metadata for n in _models(x)))]
    return models


def _tags(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Return the types that the section at `loc` may be of; none where it has no type."""
    return [str(tag) for tag in map(_tag, _sections(model, loc)) if tag is not None]


def _tag(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("type")
    return field.default if field is not None else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        if not isinstance(argument, Mapping):
            yield from _models(argument)
