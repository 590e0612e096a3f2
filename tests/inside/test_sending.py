"""How programs are sent into clusters."""

from __future__ import annotations

import ast
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
    assert sending._bare('"""Says something."""\nX = 1\n') == "X = 1"


def test_the_same_program_is_the_same_command_line() -> None:
    assert sending.command_of(place) == sending.command_of(place)
    assert sending.command_of(place, given="{}") == sending.command_of(place) + " '{}'"
