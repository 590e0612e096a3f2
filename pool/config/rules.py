"""From the configuration to the rules that the core follows."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from policies.auto import Auto
from policies.newsvendor import Newsvendor
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from policies.target import SAYS_WORTH
from policies.worth import Worth
from pool.config.model import Config, TenantSection
from pool.config.pools import CeilingSection, Match, PoolSection, ShapeMatch, TargetSection
from pool.config.values import condition, count_quantity, cpu_quantity, memory_quantity
from pool.core.key import ClusterKey, key_from
from pool.core.policy import Reclaim, Sizing
from pool.core.settings import NO_CEILING, Ceiling, PoolSettings, Prices, Rules
from pool.windows import Window

Aimed = TypeVar("Aimed", Auto, Newsvendor)

_MOST_CACHED = 50_000

Test = Callable[[ClusterKey], bool]


def pinned_key(pool: PoolSection) -> ClusterKey | None:
    """Return the one key that a pool is for, None if it is for many.

    Raises:
        InvalidKey: naming the field.
    """
    return None if pool.key is None else key_from(pool.key.model_dump(exclude_none=True))


def matcher(pool: PoolSection) -> Test:
    """Return the test whether a key belongs to a pool."""
    pinned = pinned_key(pool)
    if pinned is not None:
        digest = pinned.digest
        return lambda key: key.digest == digest
    tests = _tests(pool.match) if pool.match is not None else []
    return lambda key: all(test(key) for test in tests)


def _globs(patterns: list[str]) -> Callable[[str], bool]:
    expression = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))
    return lambda text: expression.match(text) is not None


def _tests(match: Match) -> list[Test]:
    tests: list[Test] = []
    if match.cluster_type is not None:
        of_type = _globs(match.cluster_type)
        tests.append(lambda key: of_type(key.cluster_type))
    if match.image is not None:
        of_image = _globs(match.image)
        tests.append(lambda key: of_image(key.image))
    if match.tenant is not None:
        of_tenant = _globs(match.tenant)
        tests.append(lambda key: of_tenant(key.tenant))
    if match.shape is not None:
        tests.append(_shape_test(match.shape))
    return tests


def _shape_test(match: ShapeMatch) -> Test:
    def workers(key: ClusterKey) -> int:
        return sum(group.max_replicas for group in key.shape.workers)

    measures: list[tuple[str | None, Callable[[object], int], Callable[[ClusterKey], int]]] = [
        (match.cpu, cpu_quantity, lambda key: key.footprint.milli_cpu),
        (match.memory, memory_quantity, lambda key: key.footprint.memory_bytes),
        (match.gpu, count_quantity, lambda key: key.footprint.gpu),
        (match.workers, count_quantity, workers),
    ]
    wanted = [(condition(text, quantity), of) for text, quantity, of in measures if text is not None]
    return lambda key: all(wish.holds(of(key)) for wish, of in wanted)


def _sizing(pool: PoolSection) -> Sizing:
    if pool.sizing is None:
        return FloorAndBuffer(pool.min_idle, pool.buffer)
    built = cast(Sizing, pool.sizing.build())
    return _aimed(built, pool.target) if isinstance(built, Newsvendor) else built


def _reclaim(pool: PoolSection, sizing: Sizing) -> Reclaim:
    if pool.reclaim is None:
        return FixedTTL(pool.idle_ttl, pool.idle_jitter, pool.workers_idle_ttl)
    built = cast(Reclaim, pool.reclaim.build())
    if not isinstance(built, Auto) or (isinstance(sizing, Newsvendor) and sizing.aims()):
        # What stands ready reaches a target with less idle time than what is kept after it was used.
        return built
    return _aimed(built, pool.target)


def _aimed(policy: Aimed, target: TargetSection | None) -> Aimed:
    """Return a policy with a target, if nothing else says what a start is worth to it."""
    if target is None or any(getattr(policy, name) for name in SAYS_WORTH):
        return policy
    return replace(policy, hits=target.hits or 0.0, wait_p95_s=target.wait_p95 or 0.0)


def prices_of(pool: PoolSection) -> Prices:
    """Return the prices of a completed pool section."""
    idle = pool.idle_cost_per_hour
    return Prices(idle.cpu, idle.memory, idle.gpu, pool.waiting_cost_per_hour, idle.cluster)


def settings_of(pool: PoolSection) -> PoolSettings:
    """Return the settings of a completed pool section."""
    sizing = _sizing(pool)
    return PoolSettings(
        name=pool.name,
        grant_order=pool.grant_order.build(),
        queue_order=pool.queue_order.build(),
        sizing=sizing,
        reclaim=_reclaim(pool, sizing),
        prewarm=pool.prewarm.build() if pool.prewarm is not None else None,
        look_ahead=pool.look_ahead.build() if pool.look_ahead is not None else None,
        ceiling=pool.ceiling.ceiling(),
        lease_ttl_s=pool.lease_ttl,
        max_lease_s=pool.max_lease,
        pickup_s=pool.pickup,
        max_wait_s=pool.max_wait,
        max_waiting=pool.max_waiting,
        wait_target_s=pool.wait_target,
        queue_target=pool.queue_target,
        aging_s=pool.aging,
        hold_s=pool.hold,
        hold_max_s=pool.hold_max,
        group_rest_s=pool.group_rest,
        hold_yield_s=pool.hold_yield,
        locality_wait_s=pool.locality_wait,
        max_uses=pool.max_uses,
        max_lifetime_s=pool.max_lifetime,
        lifetime_jitter=pool.lifetime_jitter,
        max_head_memory_bytes=pool.max_head_memory,
        max_open_files=pool.max_open_files,
        max_store_left_bytes=pool.max_store_left,
        start_timeout_s=pool.start_timeout,
        reset_timeout_s=pool.reset_timeout,
        reset_wait_s=pool.reset_wait,
        backoff_s=pool.backoff,
        backoff_max_s=pool.backoff_max,
        breaker_failures=pool.breaker_failures,
        breaker_open_s=pool.breaker_open,
        quarantine_s=pool.quarantine,
        max_leases_per_cluster=pool.max_leases_per_cluster,
        serve_larger=pool.serve_larger,
        resident_share=pool.resident_share,
        floor_for_s=pool.floor_for,
        prices=prices_of(pool),
        pinned=pool.key is not None,
    )


def windows_of(config: Config) -> list[Window]:
    """Return the scheduled windows of all pools."""
    return [
        Window(pool.name, window.from_, window.for_, window.min_idle, window.timezone)
        for pool in config.pools
        for window in pool.schedule
    ]


def _settings_for(config: Config) -> Callable[[ClusterKey], PoolSettings]:
    pools = [(matcher(pool), settings_of(pool)) for pool in config.pools]
    known: dict[str, PoolSettings] = {}

    def settings_for(key: ClusterKey) -> PoolSettings:
        found = known.get(key.digest)
        if found is None:
            if len(known) >= _MOST_CACHED:
                known.clear()
            found = known[key.digest] = _priced(next(settings for matches, settings in pools if matches(key)), key)
        return found

    return settings_for


def _priced(settings: PoolSettings, key: ClusterKey) -> PoolSettings:
    """Return the settings of a key: what its clusters cost tells policies what a start is worth."""
    worth = settings.prices.start_worth(key.footprint)
    if not worth:
        return settings

    def priced(policy: Any) -> Any:
        return policy.priced(worth) if isinstance(policy, Auto | Worth) else policy

    return replace(
        settings,
        reclaim=priced(settings.reclaim),
        sizing=priced(settings.sizing),
        prewarm=priced(settings.prewarm),
        look_ahead=priced(settings.look_ahead),
    )


T = TypeVar("T")


def _of_tenant(config: Config, value: Callable[[TenantSection], T], default: T) -> Callable[[str], T]:
    """Return a function of the tenant: what the first section says that matches it."""
    tenants = [(_globs([tenant.match]), value(tenant)) for tenant in config.tenants]
    known: dict[str, T] = {}

    def of_tenant(tenant: str) -> T:
        found = known.get(tenant)
        if found is None:
            if len(known) >= _MOST_CACHED:
                known.clear()
            found = known[tenant] = next((said for matches, said in tenants if matches(tenant)), default)
        return found

    return of_tenant


def daemon_ceiling(given: CeilingSection, machine_milli_cpu: int | None) -> Ceiling:
    """Return the ceiling of everything: what is given, and the cpus of the machine where clusters run on it."""
    ceiling = given.ceiling()
    if machine_milli_cpu is None or "cpu" in given.model_fields_set:
        return ceiling
    return replace(ceiling, milli_cpu=machine_milli_cpu)


def build_rules(config: Config, floors: Mapping[str, int], *, machine_milli_cpu: int | None = None) -> Rules:
    """Return the rules of a completed configuration.

    Args:
        config: as `load` returns it.
        floors: `min_idle` by pool name from the windows open now.
        machine_milli_cpu: thousandths of a cpu that all clusters share unless the configuration says otherwise, None
            where they do not run on this machine.
    """
    keys = [pinned_key(pool) for pool in config.pools]
    return Rules(
        settings_for=_settings_for(config),
        daemon=daemon_ceiling(config.ceiling, machine_milli_cpu),
        tenant_ceiling=_of_tenant(config, lambda tenant: tenant.ceiling.ceiling(), NO_CEILING),
        tenant_weight=_of_tenant(config, lambda tenant: tenant.weight, 1.0),
        max_starting=config.max_starting,
        eviction=config.eviction.build(),
        floors=dict(floors),
        pinned=tuple(key for key in keys if key is not None),
    )
