"""Reads a configuration file, as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pool.config.existing import ExistingSection, problems
from pool.config.marked import Marked, Place, parse, read
from pool.config.model import DEFAULT_POOL, Config
from pool.config.pools import CeilingSection, PoolOptions, PoolSection
from pool.config.report import report
from pool.config.rules import matcher, pinned_key
from pool.core.errors import InvalidKey


def load(file: Path | None) -> Config:
    """Return the configuration of a file with all defaults filled in; None gives the defaults alone.

    Raises:
        pool.config.ConfigError: with everything that is wrong with it.
    """
    return _checked(read(file) if file is not None else Marked("the defaults"))


def load_text(text: str, name: str) -> Config:
    """Return the configuration that `text` says; `name` is what messages call it.

    Raises:
        pool.config.ConfigError: with everything that is wrong with it.
    """
    return _checked(parse(text, name))


def _checked(marked: Marked) -> Config:
    if marked.data is None:
        marked.data = {}
    if not isinstance(marked.data, dict):
        marked.problem((), "the file must hold settings such as `listen: 127.0.0.1:8787`")
    marked_ok = not marked.problems
    try:
        config = Config.model_validate(marked.data)
    except ValidationError as error:
        if isinstance(marked.data, dict):
            report(error, marked, Config)
        marked.raise_problems()
        raise
    if marked_ok:
        _check_listen(config, marked)
        _check_store(config, marked)
        if isinstance(config.backend, ExistingSection):
            for place, text in problems(config.backend):
                marked.problem(("backend", *place), text)
        _check_pools(config, marked)
        _check_workers(config, marked)
        _check_shadow(config, marked)
    marked.raise_problems()
    return config.completed()


def public_address(listen: str) -> str:
    """Return the sentence that refuses an address which other machines can reach."""
    return f"{listen} can be reached from other machines; set listen_publicly: true if you mean it"


def _check_listen(config: Config, marked: Marked) -> None:
    if not config.listen.is_loopback and not config.listen_publicly:
        marked.problem(("listen",), public_address(str(config.listen)))


def _check_store(config: Config, marked: Marked) -> None:
    if config.store.url is not None and config.store.url_file is not None:
        marked.problem(("store", "url_file"), "gives both url and url_file; give one of them")


def _check_pools(config: Config, marked: Marked) -> None:
    names: dict[str, int] = {}
    takes_all: int | None = None
    _check_floors(config.defaults, config.defaults.ceiling, ("defaults",), marked)
    for i, pool in enumerate(config.pools):
        here: Place = ("pools", i)
        if pool.name in names:
            marked.problem((*here, "name"), f"{pool.name!r} is the name of pools[{names[pool.name]}] too")
        names.setdefault(pool.name, i)
        if takes_all is not None:
            text = f"can never match: pools[{takes_all}] takes every key and stands before it"
            marked.problem(here, text)
        if pool.match is not None and pool.key is not None:
            marked.problem((*here, "key"), "gives both match and key; give one of them")
        elif pool.match is None and pool.key is None:
            takes_all = i if takes_all is None else takes_all
        elif pool.name == DEFAULT_POOL:
            marked.problem((*here, "name"), "the pool `default` takes every other key; give it neither match nor key")
        if pool.key is not None:
            _check_key(config.pools, i, marked)
        _check_floors(pool, pool.over(config.defaults).ceiling, here, marked)


def _check_key(pools: list[PoolSection], index: int, marked: Marked) -> None:
    try:
        key = pinned_key(pools[index])
    except InvalidKey as error:
        field, _, rest = error.detail.partition(": ")
        marked.problem(("pools", index, "key"), rest or error.detail, path=f"pools[{index}].{field}")
        return
    for before in range(index):
        try:
            taken = key is not None and matcher(pools[before])(key)
        except InvalidKey:
            continue
        if taken:
            text = f"this key belongs to pools[{before}] ({pools[before].name}), which stands before; move this pool up"
            marked.problem(("pools", index, "key"), text)
            return


def _check_workers(config: Config, marked: Marked) -> None:
    """Refuse to let workers go where the backend cannot."""
    if config.backend.lets_workers_go:
        return
    text = f"clusters of the backend {config.backend.type} cannot let their workers go; take it out"
    places: list[tuple[Place, PoolOptions]] = [(("defaults",), config.defaults)]
    places += [(("pools", i), pool) for i, pool in enumerate(config.pools)]
    for here, pool in places:
        if pool.workers_idle_ttl:
            marked.problem((*here, "workers_idle_ttl"), text)
        if getattr(pool.reclaim, "workers_ttl", 0):
            marked.problem((*here, "reclaim", "workers_ttl"), text)


def _check_shadow(config: Config, marked: Marked) -> None:
    names = {*(pool.name for pool in config.pools), DEFAULT_POOL}
    for i, name in enumerate(config.shadow.pools if config.shadow is not None else ()):
        if name not in names:
            marked.problem(("shadow", "pools", i), f"there is no pool {name!r}")


def _check_floors(pool: PoolOptions, ceiling: CeilingSection, here: Place, marked: Marked) -> None:
    if ceiling.clusters is None:
        return
    wishes: list[tuple[Place, int]] = [(("min_idle",), pool.min_idle), (("buffer",), pool.buffer)]
    wishes += [(("schedule", i, "min_idle"), window.min_idle) for i, window in enumerate(pool.schedule)]
    for place, wish in wishes:
        if wish > ceiling.clusters:
            marked.problem((*here, *place), f"{wish} is more than the pool's ceiling of {ceiling.clusters} clusters")
