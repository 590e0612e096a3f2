"""What a replay tries: a policy that the command line names, or a whole configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pool.cli.errors import CommandError

if TYPE_CHECKING:
    from pool.config import Config
    from pool.core.key import ClusterKey
    from pool.core.policy import Reclaim
    from pool.core.settings import Prices, Rules
    from pool.windows import Window

POOL = "trace"
"""The name of every pool of a policy that stands alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried.

    Attributes:
        name: as the command line says it.
        rules: that the replay follows.
        windows: schedule windows of a configuration.
        prices: of a key's pool.
        clusters: how many may exist at once; None for no limit.
        named: whether pools have names that say something.
    """

    name: str
    rules: Rules
    prices: Callable[[ClusterKey], Prices]
    clusters: int | None
    windows: Sequence[Window] = ()
    named: bool = False


def of_configuration(name: str, config: Config) -> Plan:
    """Return what a whole configuration is."""
    from pool.config import build_rules, windows_of

    rules = build_rules(config, {})
    return Plan(
        name, rules, lambda key: rules.settings_for(key).prices, rules.daemon.clusters, windows_of(config), named=True
    )


def of_policy(
    text: str, break_even_s: float, clusters: int | None, eviction: str, idle_cost: str | None, waiting_cost: float
) -> Plan:
    """Return what one policy is, with nothing else beside it, but for `auto` beside one that is not of idle times.

    Raises:
        CommandError: there is no such policy, no such eviction, or a price is none.
    """
    others = policies_of(text, break_even_s)
    rules = rules_of(others.pop("reclaim"), clusters, eviction, others)
    prices = _prices(idle_cost, waiting_cost)
    return Plan(text, rules, lambda key: prices, clusters)


def _prices(idle_cost: str | None, waiting_cost: float) -> Prices:
    import yaml
    from pydantic import ValidationError

    from pool.config.pools import IdleCostSection
    from pool.core.settings import Prices

    given: Any = None
    try:
        given = yaml.safe_load(idle_cost or "{}")
        idle = IdleCostSection.model_validate(given)
    except (yaml.YAMLError, ValidationError) as error:
        no_yaml = isinstance(error, yaml.YAMLError)
        what = "it is no YAML." if no_yaml else _said_of("idle_cost_per_hour", given)
        raise CommandError(
            f"--idle-cost-per-hour {idle_cost}: {what}", remedy="Write it as in a configuration: '{cpu: 0.04}'."
        ) from None
    return Prices(idle.cpu, idle.memory, idle.gpu, waiting_cost, idle.cluster)


def policies_of(text: str, break_even_s: float) -> dict[str, Any]:
    """Return the policies that a command line names, by the settings of a pool that they are.

    One that is no policy of idle times has `auto` beside it. The break-even time is that of the command, for policies
    that have one; a bare ``fixed_ttl`` has it as its ttl, and no jitter.

    Raises:
        CommandError: there is no such policy, or its options are wrong.
    """
    import yaml
    from pydantic import ValidationError

    from policies import registry
    from policies.auto import Auto

    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError:
        given = None
    options: dict[str, Any] = {"type": given} if isinstance(given, str) else given
    if not isinstance(options, dict):
        raise CommandError(
            f"--policy: {text!r} is no policy.", remedy="Write break_even or '{type: fixed_ttl, ttl: 5m}'."
        )
    if options == {"type": "fixed_ttl"}:
        options |= {"ttl": break_even_s, "jitter": 0.0}
    others = {
        "sizing": registry.SIZINGS, "prewarm": registry.PREWARMS, "look_ahead": registry.LOOK_AHEADS,
        "grant_order": registry.GRANT_ORDERS, "queue_order": registry.QUEUE_ORDERS,
    }  # fmt: skip
    setting = next((setting for setting, known in others.items() if options.get("type") in known), "reclaim")
    try:
        policy = _built(setting, options, break_even_s)
    except ValidationError:
        what = _said_of(setting, options).removeprefix("type: ")
        more = ", ".join(name for known in others.values() for name in known)
        remedy = f"Name one of these, or of {more}." if " is not known" in what else "Correct it."
        raise CommandError(f"--policy {text}: {what}", remedy=remedy) from None
    return {"reclaim": policy} if setting == "reclaim" else {"reclaim": Auto(break_even_s), setting: policy}


def _built(setting: str, options: dict[str, Any], break_even_s: float) -> Any:
    from pydantic import TypeAdapter

    from pool.config.choice import OF_A_POOL

    adapter: TypeAdapter[Any] = TypeAdapter(OF_A_POOL[setting])
    chosen = adapter.validate_python(options)
    worth = {"break_even", "start_worth", "hits", "wait_p95"}
    if "break_even" in type(chosen).model_fields and not worth & options.keys():
        chosen = adapter.validate_python({**options, "break_even": break_even_s})
    return chosen.build()


def _said_of(setting: str, value: Any) -> str:
    """Return what a configuration would be told of a setting that is wrong, one sentence."""
    import json

    from pool.config import ConfigError, load_text

    try:
        load_text(json.dumps({"defaults": {setting: value}}, default=str), "")
    except ConfigError as error:
        said = str(error).splitlines()[0].partition(f"defaults.{setting}")[2].lstrip(".: ")
        return said if said.endswith(("?", ".")) else said + "."
    return "it cannot be read."


def rules_of(
    reclaim: Reclaim,
    clusters: int | None,
    eviction: str = "longest_idle",
    others: Mapping[str, Any] = MappingProxyType({}),
) -> Rules:
    """Return the rules of pools that all have one policy of idle times, and maybe other settings.

    Raises:
        CommandError: there is no such eviction.
    """
    from policies.grant_order import MostRecentlyUsed
    from policies.queue_order import PriorityWithAging
    from policies.registry import EVICTIONS
    from policies.sizing import FloorAndBuffer
    from pool.core.settings import NO_CEILING, Ceiling, PoolSettings, Rules
    from pool.replay.run import FOREVER_S

    if eviction not in EVICTIONS:
        raise CommandError(f"--eviction {eviction}: there is none.", remedy=f"There are {', '.join(EVICTIONS)}.")
    settings = PoolSettings(
        POOL,
        MostRecentlyUsed(),
        PriorityWithAging(),
        FloorAndBuffer(),
        reclaim,
        max_wait_s=FOREVER_S,
        max_waiting=10**9,
    )
    settings = replace(settings, **others)
    daemon = NO_CEILING if clusters is None else Ceiling(clusters=clusters)
    return Rules(lambda key: settings, daemon=daemon, max_starting=10**9, eviction=EVICTIONS[eviction]())
