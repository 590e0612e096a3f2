"""YAML with the place of every value: what a good error message needs.

PyYAML's own tree is used, so the text is read once. A key that stands twice is an error here, where YAML readers
silently let the last one win.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pool.core.errors import PoolError
from pool.core.reasons import Reason

Place = tuple[str | int, ...]
"""Where a value stands: ``("pools", 0, "idle_ttl")``."""

_MOST_VALUES = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file. Lines and columns count from 1; both are 0 for the file as a whole."""

    line: int
    column: int
    path: str
    text: str


class ConfigError(PoolError):
    """The configuration cannot be used; `problems` names everything that is wrong with it, in order of lines."""

    reason = Reason.INVALID_REQUEST
    remedy = "Correct the lines named; the configuration is used as a whole or not at all."

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems)
        super().__init__("\n".join(self._line(p) for p in self.problems))

    def _line(self, problem: Problem) -> str:
        place = f"{problem.path}: " if problem.path else ""
        at = f":{problem.line}:{problem.column}" if problem.line else ""
        return f"{self.file}{at}: {place}{problem.text}"

    def __str__(self) -> str:
        return self.detail


@dataclass(slots=True)
class Marked:
    """Plain data and where each part of it stands.

    Attributes:
        data: what the YAML says: mappings, lists, scalars.
        keys: line and column of each key of a mapping (of each item of a list).
        values: line and column of each value.
        problems: what is wrong with the text beyond its syntax.
    """

    file: str
    data: Any = None
    keys: dict[Place, tuple[int, int]] = field(default_factory=dict)
    values: dict[Place, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, place: Place, text: str, *, at_key: bool = False, path: str | None = None) -> None:
        """Note a problem at `place`, or at the nearest thing around it that stands in the file."""
        known = place
        while known and known not in self.values:
            known = known[:-1]
        line, column = (self.keys if at_key and known == place else self.values).get(known, (1, 1))
        self.problems.append(Problem(line, column, dotted(place) if path is None else path, text))

    def raise_problems(self) -> None:
        """Raise `ConfigError` if there is any problem."""
        if self.problems:
            raise ConfigError(self.file, self.problems)


def dotted(place: Place) -> str:
    """Return a place as people write it: ``pools[0].idle_ttl``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read(file: Path) -> Marked:
    """Read a YAML file.

    Raises:
        ConfigError: if it cannot be read or is not YAML.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(str(file), [Problem(1, 1, "", "the file is not UTF-8 text")]) from None
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise ConfigError(str(file), [Problem(0, 0, "", f"the file cannot be read: {reason}")]) from None
    return parse(text, str(file))


def parse(text: str, file: str) -> Marked:
    """Read YAML text; `file` is its name in messages.

    Raises:
        ConfigError: if it is not YAML.
    """
    marked = Marked(file)
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            marked.data = _Walk(loader, marked).value(node, (), ())
    except yaml.reader.ReaderError as error:
        place = text[: error.position]
        line, column = place.count("\n") + 1, error.position - (place.rfind("\n") + 1) + 1
        message = "a character that YAML does not allow"
        raise ConfigError(file, [Problem(line, column, "", message)]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError(file, [Problem(line, column, "", _syntax(error))]) from None
    except RecursionError:
        raise ConfigError(file, [Problem(1, 1, "", "the file is nested too deeply")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    return marked


def _syntax(error: yaml.MarkedYAMLError) -> str:
    text = f"not valid YAML: {error.problem or error.context}"
    if error.context and "alias" in error.context:
        text += '; put text that begins with * into quotes, such as "*/5 * * * *"'
    return text


class _Walk:
    """Turns nodes into plain data and notes their marks."""

    def __init__(self, loader: yaml.SafeLoader, marked: Marked) -> None:
        self._loader = loader
        self._marked = marked

    def value(self, node: Node, place: Place, above: tuple[int, ...]) -> Any:
        self._marked.values[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
        if id(node) in above:
            raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=node.start_mark)
        if len(self._marked.values) > _MOST_VALUES:
            raise yaml.MarkedYAMLError(problem="too many values", problem_mark=node.start_mark)
        above = (*above, id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, place, above)
        if isinstance(node, SequenceNode):
            return [self._item(item, (*place, i), above) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _item(self, node: Node, place: Place, above: tuple[int, ...]) -> Any:
        self._marked.keys[place] = (node.start_mark.line + 1, node.start_mark.column + 1)
        return self.value(node, place, above)

    def _mapping(self, node: MappingNode, place: Place, above: tuple[int, ...]) -> dict[str, Any]:
        self._refuse_duplicates(node, place)
        self._loader.flatten_mapping(node)
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            where = (*place, key)
            self._marked.keys[where] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            out[key] = self.value(value_node, where, above)
        return out

    def _refuse_duplicates(self, node: MappingNode, place: Place) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in first:
                path = dotted((*place, key))
                problem = Problem(
                    line, key_node.start_mark.column + 1, path, f"stands twice, first in line {first[key]}"
                )
                self._marked.problems.append(problem)
            first.setdefault(key, line)

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a plain word", problem_mark=node.start_mark)
        return str(node.value)

    def _scalar(self, node: Node) -> Any:
        try:
            return self._loader.construct_object(node, deep=True)
        except ValueError as error:
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
