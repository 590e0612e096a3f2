"""Clusters that somebody else runs, as the configuration writes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from pool.config import ConfigError, load_text
from pool.config.existing import ExistingSection
from pool.config.show import effective
from pool.config.watch import Watch
from pool.core.errors import PoolError

GOOD = "name: a, tenant: p/d, dashboard: 'http://h:8265', address: 'h:6379'"


def problem(*entries: str) -> str:
    text = "backend:\n  type: existing\n  clusters:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)
    with pytest.raises(ConfigError) as caught:
        load_text(text, "w.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([GOOD], "w.yaml:4:5: backend.clusters[0]: has no token; give token_file (or token)"),
        ([f"{GOOD}, token: t, token_file: /t"], "backend.clusters[0]: gives both token and token_file"),
        ([f"{GOOD}, token: t", f"{GOOD}, token: t"], "backend.clusters[1].name: 'a' is that of clusters[0] too"),
        ([f"{GOOD}, token: 'a b'"], "backend.clusters[0].token: is not a token"),
        ([f"{GOOD}, token: 5"], "backend.clusters[0].token: should be a valid string"),
        ([f"{GOOD}, token: t, colour: red"], "backend.clusters[0].colour: unknown setting"),
        ([f"{GOOD}, token: t, shape: {{head: {{cpu: -1}}}}"], "shape.head.cpu"),
        ([f"{GOOD}, token: t, image: 'a b'"], "backend.clusters[0].image: 'a b' is not an image reference."),
        ([f"{GOOD.replace('http', 'ftp')}, token: t"], "is not a URL without a user in it"),
        ([f"{GOOD.replace('//h', '//u:secret@h')}, token: t"], "is not a URL without a user in it"),
        ([f"{GOOD.replace('h:6379', 'h')}, token: t"], "'h' is not an address"),
        ([f"{GOOD}, token: t, client_address: 'h:10001'"], "write one such as ray://ray-head:10001"),
    ],
)
def test_a_mistake_is_named_with_its_place(entries: list[str], said: str) -> None:
    assert said in problem(*entries)


def test_a_token_is_never_shown() -> None:
    config = load_text(f"backend: {{type: existing, clusters: [{{{GOOD}, token: hush-hush}}]}}\n", "w.yaml")
    assert "hush" not in repr(config)
    shown = yaml.safe_dump(effective(config))
    assert "hush" not in shown
    assert "[hidden]" in shown
    assert "hush" not in problem(f"{GOOD}, token: [hush]")
    assert "123" not in problem(f"{GOOD}, token: 123")


def test_the_file_of_a_token_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    config = load_text(f"backend: {{type: existing, clusters: [{{{GOOD}, token_file: {file}}}]}}\n", "w.yaml")
    assert isinstance(config.backend, ExistingSection)
    (entry,) = config.backend.clusters
    with pytest.raises(PoolError, match="a: its token_file cannot be read"):
        entry.secret()
    file.write_text(" \n")
    with pytest.raises(PoolError, match="holds no token"):
        entry.secret()
    file.write_text("one\n")
    assert entry.secret() == "one"


async def test_a_changed_token_file_is_noticed_like_the_configuration(tmp_path: Path) -> None:
    config, token = tmp_path / "warmpool.yaml", tmp_path / "token"
    config.write_text("{}")
    token.write_text("one")
    watch = Watch(config, look_every_s=0.01, settle_s=0.01)
    watch.beside([token])
    changes = watch.changes()
    token.write_text("two")
    async with asyncio.timeout(10):
        await anext(changes)
        config.write_text("{ }")
        await anext(changes)
    await changes.aclose()
