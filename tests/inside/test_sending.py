"""How programs are sent into clusters."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pool.inside import place, sending


def test_a_parse_that_another_thread_disturbed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, calls = ast.parse, []

    def disturbed(text: str) -> Any:
        calls.append(text)
        if len(calls) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=114, after=161)")
        return parse(text)

    monkeypatch.setattr(ast, "parse", disturbed)
    assert ast.unparse(sending._bare('"""Says something."""\nX = 1\n')) == "X = 1"


def test_the_same_program_is_the_same_command_line() -> None:
    assert sending.command_of(place) == sending.command_of(place)
    assert sending.command_of(place, given="{}") == sending.command_of(place) + " '{}'"


def test_programs_that_mean_different_things_by_one_name_are_not_sent_together(tmp_path: Path) -> None:
    modules = []
    for name, text in {"one": "A = 1\nB = 1\n", "same": "A = 1\n", "other": "def B():\n    pass\n"}.items():
        module = ModuleType(name)
        module.__file__ = str(tmp_path / f"{name}.py")
        (tmp_path / f"{name}.py").write_text(text)
        modules.append(module)
    one, same, other = modules
    assert sending.program_of(one, same)
    with pytest.raises(ValueError, match="one and other cannot be sent together: both have a B"):
        sending.program_of(one, same, other)
