"""Policies as the configuration writes them: by name, or by type with options.

``grant_order: least_recently_used`` or ``reclaim: {type: fixed_ttl, ttl: 10m, jitter: 0.1}``. The options and their
defaults are the fields of the policy's dataclass; a field that ends in ``_s`` is a duration, written without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, create_model, model_validator

from policies import registry
from pool.config.values import Number, Seconds

_TYPES: dict[str, Any] = {"float": Number, "int": int, "bool": bool, "str": str}


class Options(BaseModel):
    """Options of one policy."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    policy: ClassVar[type[Any]]

    def build(self) -> Any:
        """Return the policy.

        Raises:
            ValueError: if an option is out of its range.
        """
        fields = dataclasses.fields(self.policy)
        return self.policy(**{f.name: getattr(self, f.name.removesuffix("_s")) for f in fields})

    @model_validator(mode="after")
    def _check(self) -> Options:
        self.build()
        return self


def _options(name: str, policy: type[Any]) -> type[Options]:
    fields: dict[str, Any] = {"type": (Literal[name], name)}
    for f in dataclasses.fields(policy):
        kind = Seconds if f.name.endswith("_s") else _TYPES[str(f.type)]
        fields[f.name.removesuffix("_s")] = (kind, f.default)
    made: type[Options] = create_model(f"{policy.__name__}Options", __base__=Options, **fields)
    made.policy = policy
    return made


def _by_name(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


def _choice(policies: Mapping[str, type[Any]]) -> Any:
    models = tuple(_options(name, policy) for name, policy in policies.items())
    # A discriminator needs a union of at least two; one policy needs none.
    union: Any = Annotated[Union[models], Discriminator("type")] if len(models) > 1 else models[0]  # noqa: UP007
    return Annotated[union, BeforeValidator(_by_name)]


GrantOrderChoice = _choice(registry.GRANT_ORDERS)
QueueOrderChoice = _choice(registry.QUEUE_ORDERS)
SizingChoice = _choice(registry.SIZINGS)
PrewarmChoice = _choice(registry.PREWARMS)
LookAheadChoice = _choice(registry.LOOK_AHEADS)
ReclaimChoice = _choice(registry.RECLAIMS)
EvictionChoice = _choice(registry.EVICTIONS)

OF_A_POOL: Mapping[str, Any] = {
    "reclaim": ReclaimChoice,
    "sizing": SizingChoice,
    "prewarm": PrewarmChoice,
    "look_ahead": LookAheadChoice,
    "grant_order": GrantOrderChoice,
    "queue_order": QueueOrderChoice,
}
"""The policies of a pool, by its settings."""
