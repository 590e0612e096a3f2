"""Help, usage errors, and where a command looks for its daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.cli.app import app
from pool.cli.errors import CommandError
from pool.cli.show import span
from pool.cli.talk import Where, find

COMMANDS = [
    "serve", "demo", "lease", "connector", "pools", "clusters", "leases", "queue", "explain", "cordon", "uncordon",
    "drain", "prewarm", "resize", "revoke", "simulate", "advise", "shadow", "ledger", "config", "history",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WARMPOOL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nothing here"))


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_help_names_every_command() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert [line.split()[0] for line in out.split("Commands:")[1].splitlines()[1 : len(COMMANDS) + 1]] == COMMANDS


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("demo", "config", "history")])
def test_every_command_has_an_example(command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"    warmpool {command}" in out, "examples keep their lines"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from pool.cli.app import app\n"
        "try: app(['--help'], prog_name='warmpool')\n"
        "except SystemExit: pass\n"
        "heavy = {'aiohttp', 'sqlalchemy', 'httpx', 'pydantic', 'ray', 'yaml', 'apscheduler', 'structlog', 'rich'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments", [("bogus",), ("explain",), ("cordon",), ("prewarm", "--count", "0"), ("pools", "--nope"), ("lease",)]
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


@pytest.mark.parametrize(
    "arguments", [("pools",), ("clusters",), ("leases",), ("queue",), ("explain", "l"), ("cordon", "c-1"),
                  ("lease", "--", "true"), ("prewarm",), ("revoke", "l")],
)  # fmt: skip
def test_without_a_daemon_a_command_says_how_to_start_one(arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "Start one with `warmpool serve`" in err


def test_a_daemon_that_died_is_not_spoken_to(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "daemon.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": gone.pid}))
    code, _, err = run("--state-dir", str(tmp_path), "pools")
    assert code == 1
    assert "No daemon runs here" in err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[::bad", "ftp://host"])
def test_a_url_that_leads_nowhere_is_one_sentence(url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-some-length\n")
    code, _, err = run("--url", url, "--token-file", str(tmp_path / "token"), "pools")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert url in err
    if url == "http://127.0.0.1:1":
        assert "does not answer: connection refused." in err


def test_the_token_of_the_daemon_here_is_never_sent_elsewhere(tmp_path: Path) -> None:
    announced = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "tokens": str(tmp_path)}
    (tmp_path / "daemon.json").write_text(json.dumps(announced))
    (tmp_path / "operator.token").write_text("secret-of-the-daemon-here\n")
    assert find(Where(state_dir=tmp_path)).token == "secret-of-the-daemon-here"
    assert find(Where(url="http://127.0.0.1:1/", state_dir=tmp_path)).token == "secret-of-the-daemon-here"
    with pytest.raises(CommandError, match="no token for that daemon"):
        find(Where(url="http://elsewhere:1", state_dir=tmp_path))


def test_the_environment_names_daemon_and_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARMPOOL_URL", "http://elsewhere:1/")
    monkeypatch.setenv("WARMPOOL_TOKEN", "token-from-the-environment")
    found = find(Where())
    assert (found.url, found.token) == ("http://elsewhere:1", "token-from-the-environment")
    assert "token-from" not in repr(found)
    (tmp_path / "token").write_text("token-from-a-file\n")
    monkeypatch.setenv("WARMPOOL_TOKEN_FILE", str(tmp_path / "token"))
    assert find(Where()).token == "token-from-a-file"


def test_a_token_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    code, _, err = run("--url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "none"), "pools")
    assert code == 1
    assert "cannot be read: no such file or directory" in err


def test_a_command_that_does_not_exist_is_found_before_a_cluster_is_asked_for() -> None:
    code, _, err = run("lease", "--", "/no/such/command")
    assert (code, err) == (127, "error: /no/such/command: there is no such command.\n")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("--timeout=soon", "--timeout: 'soon' is not"), ("--hold=-1", "--hold: '-1' is not")],
)
def test_a_wrong_duration_names_its_option(option: str, sentence: str) -> None:
    code, _, err = run("lease", option, "--", "true")
    assert code == 1
    assert sentence in err


def test_a_public_address_on_the_command_line_is_refused(tmp_path: Path) -> None:
    code, _, err = run("serve", "--listen", "0.0.0.0:1", "--state-dir", str(tmp_path))
    assert code == 1
    assert "--listen: 0.0.0.0:1 can be reached from other machines" in err
    assert "--listen: 'x' is not an address" in run("serve", "--listen", "x", "--state-dir", str(tmp_path))[2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (200, "3 min 20 s"), (187_200, "2 d 4 h")],
)  # fmt: skip
def test_spans_are_short(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_completion_is_offered() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pool.cli"],
        env={**os.environ, "_WARMPOOL_COMPLETE": "complete_bash", "COMP_WORDS": "warmpool unc", "COMP_CWORD": "1"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["uncordon"]
