"""The configuration in force, with all defaults, as plain data that can be read back; without secrets."""

from __future__ import annotations

import re
from typing import Any

from pool.config.existing import HIDDEN
from pool.config.model import Config
from pool.config.pools import SHORT_FORMS, PoolOptions


def effective(config: Config) -> dict[str, Any]:
    """Return what is in force as plain data: names, numbers, lists, mappings."""
    url = _without_password(config) if config.store.url_file is None else None
    config = config.model_copy(update={"store": config.store.model_copy(update={"url": url})})
    data = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    if data["backend"].get("env"):
        data["backend"]["env"] = dict.fromkeys(data["backend"]["env"], HIDDEN)
    # What `defaults` say stands in every pool already.
    del data["defaults"]
    data["pools"] = [_tidy(pool, shown) for pool, shown in zip(config.pools, data["pools"], strict=True)]
    return data


def _without_password(config: Config) -> str:
    return re.sub(r"(://[^/@]*?:)[^/@]+@", rf"\1{HIDDEN}@", config.store_url)


def _tidy(pool: PoolOptions, shown: dict[str, Any]) -> dict[str, Any]:
    for policy, short in SHORT_FORMS.items():
        if getattr(pool, policy) is not None:
            for name in short:
                shown.pop(name, None)
    for name, value in list(shown.items()):
        if isinstance(value, dict) and value.keys() == {"type"}:
            shown[name] = value["type"]
    first: dict[str, Any] = {name: shown.pop(name) for name in ("name", "match", "key") if name in shown}
    return {**first, **shown}
