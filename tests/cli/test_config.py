"""``warmpool config``: what is wrong is told with line and column, what is in force is shown without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pool.cli.app import app
from pool.config import load, load_text

GOOD = """\
listen: 127.0.0.1:0
store: {url: "postgresql://me:hunter2@db/pool"}
backend: {type: local, env: {WANDB_KEY: hunter3}}
defaults: {idle_ttl: 90s}
pools:
  - {name: gpu, match: {shape: {gpu: ">0"}}, reclaim: never_keep, ceiling: {cpu: 500m, memory: 4Gi}}
  - name: office
    match: {tenant: "a/*"}
    schedule: [{from: "0 8 * * 1-5", for: 10h, min_idle: 2, timezone: Europe/Berlin}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "warmpool.yaml"
    path.write_text(GOOD)
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_a_valid_file_is_told_to_be_valid(file: Path) -> None:
    assert run("config", "check", str(file)) == (
        0, f"{file} is valid. Pools, the first that matches counts: gpu, office, default.\n", "",
    )  # fmt: skip
    code, out, _ = run("config", "check", str(file), "--json")
    assert code == 0
    assert json.loads(out) == {"valid": True, "file": str(file), "pools": ["gpu", "office", "default"]}


def test_every_mistake_is_one_line_on_stderr(file: Path) -> None:
    file.write_text("max_starting: 0\npools: [{name: a, idle_tll: 1}]\n")
    code, out, err = run("config", "check", str(file))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"{file}:1:15: max_starting: should be greater than or equal to 1, not 0",
        f"{file}:2:19: pools[0].idle_tll: unknown setting; did you mean idle_ttl?",
    ]
    code, out, err = run("config", "check", str(file), "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["problems"][1] == {
        "line": 2, "column": 19, "path": "pools[0].idle_tll", "text": "unknown setting; did you mean idle_ttl?",
    }  # fmt: skip


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    for command in (("config", "check"), ("config", "show"), ("serve", "--config")):
        code, _, err = run(*command, str(tmp_path / "none.yaml"))
        assert code == 1
        assert "the file cannot be read: no such file or directory" in err
        assert "Traceback" not in err


def test_what_is_in_force_is_shown_with_defaults_and_without_secrets(file: Path) -> None:
    code, out, _ = run("config", "show", str(file))
    assert code == 0
    assert "hunter" not in out
    shown = yaml.safe_load(out)
    gpu, office, default = shown["pools"]
    assert gpu["reclaim"] == "never_keep"
    assert "idle_ttl" not in gpu
    assert gpu["ceiling"] == {"cpu": "500m", "memory": "4Gi"}
    assert (office["idle_ttl"], default["idle_ttl"]) == ("1m30s", "1m30s")
    assert shown["store"]["url"] == "postgresql://me:[hidden]@db/pool"
    assert json.loads(run("config", "show", str(file), "--json")[1]) == shown


def test_what_is_shown_can_be_read_back_and_means_the_same(tmp_path: Path) -> None:
    text = GOOD.replace('store: {url: "postgresql://me:hunter2@db/pool"}\n', "").replace("WANDB_KEY: hunter3", "")
    file = tmp_path / "one.yaml"
    file.write_text(text)
    shown = run("config", "show", str(file))[1]
    (tmp_path / "two.yaml").write_text(shown)
    again = run("config", "show", str(tmp_path / "two.yaml"))[1]
    assert again == shown
    assert [p.idle_ttl for p in load_text(shown, "x").pools[1:]] == [p.idle_ttl for p in load(file).pools[1:]]


def test_the_defaults_alone_can_be_shown() -> None:
    code, out, _ = run("config", "show")
    assert code == 0
    assert [pool["name"] for pool in yaml.safe_load(out)["pools"]] == ["default"]
