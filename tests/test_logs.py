"""Logs are text on a terminal, JSON elsewhere, and hold no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from pool.logs import configure, hide_secrets


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_elsewhere_than_on_a_terminal_each_line_is_json() -> None:
    out = io.StringIO()
    configure("info", "auto", out)
    structlog.get_logger("x").info("stopping c-1: idle for 613 s, over its 600 s", cluster="c-1", uses=3)
    line = json.loads(out.getvalue())
    assert line.pop("time").startswith("20")
    assert line == {
        "event": "stopping c-1: idle for 613 s, over its 600 s", "level": "info", "cluster": "c-1", "uses": 3,
    }  # fmt: skip


def test_on_a_terminal_it_is_a_sentence() -> None:
    out = Terminal()
    configure("info", "auto", out)
    structlog.get_logger("x").info("stopping c-1", cluster="c-1")
    assert "stopping c-1" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_less_than_the_level_is_not_shown(level: str, shown: int) -> None:
    out = io.StringIO()
    configure(level, "json", out)
    log = structlog.get_logger("x")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert len(out.getvalue().splitlines()) == shown


def test_libraries_are_heard_from_warnings_on_in_the_same_form() -> None:
    out = io.StringIO()
    configure("debug", "json", out)
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("token=%s is old", "abcdefgh12345678")
    assert json.loads(out.getvalue())["event"] == "token=[hidden] is old"


TOKEN = "jFN-ZygaUF0c7p8FUa5lge6R86DjDP_fHdzxbIJTK98"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"could not use {TOKEN}!",
        f"token: {TOKEN}",
        f"{{'RAY_AUTH_TOKEN': '{TOKEN}'}}",
        f"postgresql://me:{TOKEN}@db/pool",
        f"?access_token={TOKEN}&x=1",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert TOKEN not in hide_secrets(text)
    assert "[hidden]" in hide_secrets(text)


@pytest.mark.parametrize(
    "text",
    ["c-7f3a01b2c3d4-2", "stopping c-1: idle for 613 s", "https://host:8787/v1", "/tmp/a/tokens.yaml", "a" * 64, ""],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide_secrets(text) == text


def test_secrets_are_hidden_in_fields_lists_and_tracebacks() -> None:
    out = io.StringIO()
    configure("info", "json", out)
    log = structlog.get_logger("x")
    log.info("a", token="short", env={"MY_SECRET": "x1", "HOME": "/root"}, items=[f"Bearer {TOKEN}"], token_file="/t")
    first = json.loads(out.getvalue())
    assert first["token"] == "[hidden]"
    assert first["env"] == {"MY_SECRET": "[hidden]", "HOME": "/root"}
    assert first["items"] == ["Bearer [hidden]"]
    assert first["token_file"] == "/t"
    try:
        raise RuntimeError(f"refused {TOKEN}")
    except RuntimeError:
        log.exception("it failed")
    assert "RuntimeError" in out.getvalue()
    assert TOKEN not in out.getvalue()
