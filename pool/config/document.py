"""The configuration as a page for people, made of its models."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from pool.config import values
from pool.config.choice import Options
from pool.config.model import Config
from pool.config.pools import Globs

HEAD = """\
# Configuration

One YAML file, read by `warmpool serve --config FILE`. Everything has a default, so an empty file is a valid one. What
the file does not know it refuses, with line, column and the nearest right name: `warmpool config check FILE` tries it,
`warmpool config show` prints what is in force. SIGHUP reloads it as a whole or not at all.

| kind of value | written as |
|---|---|
| duration | seconds, or a number with `ms`, `s`, `m`, `h` or `d`: `90`, `10m`, `1h30m` |
| cpus | `4`, `0.5` or `500m` |
| bytes | `64Gi`, `500M` or a number |
| percentage | `99%` or `0.99` |
| condition | `">0"`, `">=4"`, `"<=64Gi"`, or a bare value for "equal" |
| pattern | with `*`, `?` and `[...]`, as file names have them |
| policy | its name, or its type with options: `{type: fixed_ttl, ttl: 10m}` |

This page is made by `python -m pool.config > docs/configuration.md`.
"""

KINDS = (
    (values.Seconds, "duration"),
    (values.Cpu, "cpus"),
    (values.Memory, "bytes"),
    (values.Reached, "percentage"),
    (values.Number, "number or percentage"),
    (values.CpuCondition, "condition"),
    (values.MemoryCondition, "condition"),
    (values.CountCondition, "condition"),
    (values.Listen, "host:port"),
    (values.Directory, "path"),
    (Globs, "pattern, or a list of them"),
)

OF_THE_MACHINE = {
    "state_dir": "`$WARMPOOL_STATE_DIR`, else `warmpool` in `$XDG_STATE_HOME`, else `~/.local/state/warmpool`",
    "python": "the daemon's own",
}
"""Defaults that differ from machine to machine."""

_VALIDATORS = {get_args(alias)[-1 if name.startswith("pattern") else 1]: name for alias, name in KINDS}
_NO_BOUND = 1_000_000  # the most of any count
_PLAIN = {
    str: "text",
    SecretStr: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    Any: "anything",
}


def page() -> str:
    """Return the page about the configuration."""
    sections = _sections()
    return HEAD + "".join(_section(model, path, sections) for model, path in sections.items())


def _sections() -> dict[type[BaseModel], str]:
    """Return the file's model and all that its fields hold, with where each was met first, in that order."""
    found: dict[type[BaseModel], str] = {}
    waiting: list[tuple[type[BaseModel], str]] = [(Config, "")]
    while waiting:
        model, path = waiting.pop(0)
        if model in found:
            continue
        found[model] = path
        for name, field in _own_fields(model, found).items():
            below = f"{path}.{field.alias or name}".lstrip(".")
            waiting += [(inner, below) for inner in _models(field.annotation)]
    return found


def _own_fields(model: type[BaseModel], found: Mapping[type[BaseModel], str]) -> dict[str, FieldInfo]:
    """Return the fields of a model: not those of one above it that has a section, nor its type's name."""
    above = {name for base in found if base in model.__mro__[1:] for name in base.model_fields}
    chosen = _constant(model)
    fields = model.model_fields.items()
    return {name: field for name, field in fields if name not in above and not (name == "type" and chosen)}


def _title(model: type[BaseModel], path: str) -> str:
    chosen = _constant(model)
    return f"`{path}`: `{chosen}`" if chosen else f"`{path}`" if path else "The file"


def _constant(model: type[BaseModel]) -> str:
    field = model.model_fields.get("type")
    return str(field.default) if field is not None and get_origin(field.annotation) is Literal else ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]


def _section(model: type[BaseModel], path: str, sections: Mapping[type[BaseModel], str]) -> str:
    # The docstring of a policy's options is that of all options; the policy says what it does.
    said = _doc(model.policy if issubclass(model, Options) else model)
    first = said.partition("\n\n")[0].replace("``", "`")
    above = next((sections[base] for base in model.__mro__[1:] if base in sections), "")
    more = f" Besides what stands under [`{above}`](#{_anchor(above)}):" if above else ""
    text = f"\n## {_title(model, path)}\n\n{first}{more}\n"
    fields = _own_fields(model, sections)
    if not fields:
        return text
    defaults = model.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
    rows = "".join(_row(model, field.alias or name, field, defaults, sections) for name, field in fields.items())
    return f"{text}\n| setting | value | default | meaning |\n|---|---|---|---|\n{rows}"


def _row(
    model: type[BaseModel],
    name: str,
    field: FieldInfo,
    defaults: Mapping[str, Any],
    sections: Mapping[type[BaseModel], str],
) -> str:
    kind = _kind(field.annotation, field.metadata, sections) + _bounds(field.metadata)
    said = field.description or _said_elsewhere(model, name, field)
    return f"| `{name}` | {_cell(kind)} | {_cell(_default(name, field, defaults))} | {_cell(said)} |\n"


def _said_elsewhere(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """Return what the policy says of its option, or a section of itself."""
    if issubclass(model, Options):
        found = re.search(rf"^ *{name}(?:_s)?: ((?:.|\n(?! *\w+: | *$))+)", _doc(model.policy), re.MULTILINE)
        said = " ".join(found[1].split()) if found else ""
        return said[:1].upper() + said[1:]
    models = _models(field.annotation)
    return _doc(models[0]).partition("\n")[0] if len(models) == 1 else ""


def _doc(thing: type[Any]) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def _default(name: str, field: FieldInfo, defaults: Mapping[str, Any]) -> str:
    if field.is_required():
        return "required"
    if name in OF_THE_MACHINE:
        return OF_THE_MACHINE[name]
    default, value = field.default, defaults[name]
    if isinstance(default, BaseModel):
        value = _constant(type(default))
    if value is None or value in ("", []) or isinstance(value, dict):
        # A section's defaults stand in the section.
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _kind(annotation: Any, metadata: Any, sections: Mapping[type[BaseModel], str]) -> str:
    for item in metadata:
        if item in _VALIDATORS:
            return _VALIDATORS[item]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0], parts[1:], sections)
    if origin in (Union, UnionType):
        kinds = dict.fromkeys(_kind(part, (), sections) for part in parts if part is not NoneType)
        return " or ".join(kinds).replace("whole number or number", "number")
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts if part != "")
    if origin in (list, tuple):
        return f"list of {_kind(parts[0], (), sections)}"
    if origin is not None:
        return "mapping"
    if annotation in sections:
        path = sections[annotation]
        title = _title(annotation, path)
        return f"[`{_constant(annotation) or path}`](#{_anchor(title)})"
    return _PLAIN[annotation]


def _anchor(title: str) -> str:
    """Return the anchor that a heading gets where pages are shown."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _bounds(metadata: Any) -> str:
    low = next((item.ge for item in metadata if isinstance(item, annotated_types.Ge)), None)
    high = next((item.le for item in metadata if isinstance(item, annotated_types.Le)), _NO_BOUND)
    if low is None or (low == 0 and high == _NO_BOUND):
        return ""
    return f", at least {low}" if high == _NO_BOUND else f", {low} to {high}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ").replace("``", "`")
