"""The settings of a pool as the configuration writes them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from policies.target import SAYS_WORTH
from pool.config.choice import (
    GrantOrderChoice,
    LookAheadChoice,
    PrewarmChoice,
    QueueOrderChoice,
    ReclaimChoice,
    SizingChoice,
)
from pool.config.values import (
    Count,
    CountCondition,
    Cpu,
    CpuCondition,
    Memory,
    MemoryCondition,
    Reached,
    Seconds,
    Share,
    finite,
)
from pool.core.settings import Ceiling
from pool.windows import trigger
from pool.wire.key import KeySpec

_NAME = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"


class Section(BaseModel):
    """A mapping of the file. What it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Globs = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1), BeforeValidator(_as_list)]


class CeilingSection(Section):
    """The most that may exist at once."""

    clusters: Count | None = Field(None, description="Clusters in any state until they are seen gone.")
    cpu: Cpu | None = Field(None, description="Logical CPUs of all their nodes, groups at their max.")
    memory: Memory | None = Field(None, description="Memory of all their nodes, where the shape names it.")
    gpu: Count | None = Field(None, description="GPUs of all their nodes.")

    def ceiling(self) -> Ceiling:
        """Return it as the core knows it."""
        return Ceiling(clusters=self.clusters, milli_cpu=self.cpu, memory_bytes=self.memory, gpu=self.gpu)


Price = Annotated[float, BeforeValidator(finite), Field(ge=0, le=1e9)]


class IdleCostSection(Section):
    """What an hour of a resource costs that nobody uses, in the currency of `waiting_cost_per_hour`."""

    cpu: Price = Field(0.0, description="Of one logical CPU.")
    memory: Price = Field(0.0, description="Of one GiB of memory, where the shape names it.")
    gpu: Price = Field(0.0, description="Of one GPU.")
    cluster: Price = Field(0.0, description="Of any cluster, whatever its size: what its control plane costs.")


class TargetSection(Section):
    """What to reach at least cost, instead of what waiting costs. One of these."""

    hits: Reached | None = Field(None, description="Share of leases that an idle cluster answers at once, such as 99%.")
    wait_p95: Seconds | None = Field(None, description="Time within which 95 % of leases are granted, such as 20s.")

    @model_validator(mode="after")
    def _one(self) -> TargetSection:
        if self.hits is not None and self.wait_p95 is not None:
            raise ValueError("gives both hits and wait_p95; give one of them")
        if self.hits is None and self.wait_p95 is None:
            raise ValueError("does not say what to reach; give hits, such as 99%, or wait_p95, such as 20s")
        if self.wait_p95 == 0:
            raise ValueError("wait_p95 is 0; give a time to wait such as 20s, or hits such as 95%")
        return self


class ShapeMatch(Section):
    """Conditions on the whole cluster (head and all workers at their max), such as ``gpu: ">0"``."""

    cpu: CpuCondition | None = Field(None, description="Logical CPUs.")
    memory: MemoryCondition | None = Field(None, description="Memory, as far as the shape names it.")
    gpu: CountCondition | None = Field(None, description="GPUs.")
    workers: CountCondition | None = Field(None, description="Worker nodes.")


class Match(Section):
    """Which keys a pool is for. All that is given must match; of several patterns, one must."""

    cluster_type: Globs | None = Field(None, description="Patterns of the cluster type.")
    image: Globs | None = Field(None, description="Patterns of the image, such as `*/trainer:*`.")
    tenant: Globs | None = Field(None, description="Patterns of the tenant, such as `ml-*/production`.")
    shape: ShapeMatch | None = Field(None, description="Conditions on the shape.")


class WindowSection(Section):
    """At certain times, at least so many idle clusters."""

    from_: str = Field(alias="from", description="Cron time at which it opens, such as `0 8 * * 1-5`.")
    for_: Seconds = Field(alias="for", description="How long it stays open.")
    min_idle: Count = Field(description="Idle clusters wanted while it is open.")
    timezone: str = Field("UTC", description="IANA name of the time zone of `from`.")

    @model_validator(mode="after")
    def _check(self) -> WindowSection:
        trigger(self.from_, self.timezone)
        if self.for_ == 0:
            raise ValueError("for is 0; a window must stay open for some time")
        return self


class PoolOptions(Section):
    """What can be set for a pool, and under `defaults` for all of them."""

    idle_ttl: Seconds = Field(
        600.0,
        description="An idle cluster is stopped after so long (reclaim: fixed_ttl). Without any of these three and "
        "without `reclaim`, its time is learned (reclaim: auto).",
    )
    idle_jitter: Share = Field(0.1, description="Each cluster's idle times are shorter by up to this share.")
    workers_idle_ttl: Seconds = Field(
        0.0,
        description="An idle cluster lets its workers go after so long and keeps its head; the next lease waits until "
        "they are back. 0 for never; no effect where it is not shorter than idle_ttl.",
    )
    reclaim: ReclaimChoice | None = Field(
        None, description="Policy that stops idle clusters, instead of these three; `auto` where nothing is said."
    )
    grant_order: GrantOrderChoice = Field(
        "most_recently_used", validate_default=True, description="Which idle cluster a lease gets."
    )
    queue_order: QueueOrderChoice = Field(
        "priority_with_aging", validate_default=True, description="In which order waiters are served."
    )
    min_idle: Count = Field(0, description="Idle clusters wanted at any time.")
    buffer: Count = Field(0, description="Idle clusters wanted while any is leased.")
    sizing: SizingChoice | None = Field(None, description="Policy of the idle clusters wanted, instead of these two.")
    prewarm: PrewarmChoice | None = Field(
        None,
        description="Policy that has a cluster ready just before a pool's next use, by its rhythm; never, if null.",
    )
    look_ahead: LookAheadChoice | None = Field(
        None,
        description="Policy that has clusters ready just before a workflow's next tasks ask for them, as workflows "
        "that began alike did; null: never.",
    )
    schedule: list[WindowSection] = Field([], description="Times at which more idle clusters are wanted.")
    ceiling: CeilingSection = Field(CeilingSection(), description="The most of each pool.")
    lease_ttl: Annotated[Seconds, Field(ge=1, le=3600)] = Field(30.0, description="A lease not renewed for it expires.")
    max_lease: Seconds = Field(0.0, description="A lease ends after so long however often renewed; 0 for never.")
    pickup: Annotated[Seconds, Field(ge=1)] = Field(15.0, description="A grant nobody claims within it expires.")
    max_wait: Seconds = Field(3600.0, description="The longest an acquire may wait.")
    max_waiting: Count = Field(10_000, description="Length of the queue; further acquires are refused.")
    wait_target: Seconds = Field(300.0, description="A longer wait raises an alert, and nothing else; 0 for none.")
    queue_target: Count = Field(20, description="More waiters raise an alert, and nothing else; 0 for none.")
    aging: Annotated[Seconds, Field(ge=1)] = Field(60.0, description="Waiting so long counts as one step of priority.")
    hold: Seconds = Field(0.0, description="A released cluster is kept for its group so long, unless the lease says.")
    hold_max: Seconds = Field(600.0, description="The longest hold that a lease may ask for.")
    group_rest: Seconds = Field(
        30.0,
        description="After a release, wait so long for the group's next task before a full reset, where that takes "
        "seconds (Kubernetes); a task of another group that waits has it done at once.",
    )
    hold_yield: Seconds = Field(60.0, description="Under a ceiling, an older hold may be evicted.")
    locality_wait: Seconds = Field(3.0, description="How long to wait for the busy cluster with the group's data.")
    max_uses: Count = Field(200, description="Leases before a cluster is replaced; 0 for no limit.")
    max_lifetime: Seconds = Field(86_400.0, description="Age at which a cluster is replaced; 0 for no limit.")
    lifetime_jitter: Share = Field(0.1, description="Each cluster's max_lifetime is shorter by up to this share.")
    max_head_memory: Memory = Field(
        2 * 2**30,
        description="Memory of Ray's own processes on its head, without the object store, beyond which a cluster is "
        "replaced after a lease; 0 for no limit.",
    )
    max_open_files: Count = Field(
        10_000,
        description="Files that one of Ray's own processes on its head has open, beyond which a cluster is replaced "
        "after a lease; 0 for no limit.",
    )
    max_store_left: Memory = Field(
        2**20,
        description="Memory still in use in its object stores once everybody who owned something there is gone, beyond "
        "which a cluster is replaced; 0 for no limit.",
    )
    start_timeout: Annotated[Seconds, Field(ge=1)] = Field(120.0, description="A start that takes longer has failed.")
    reset_timeout: Annotated[Seconds, Field(ge=1)] = Field(20.0, description="A reset that takes longer has failed.")
    reset_wait: Seconds = Field(
        10.0,
        description="Who waits has a cluster started rather than wait longer than this for one that is being reset.",
    )
    backoff: Seconds = Field(2.0, description="Pause after the first failed start; it doubles with each.")
    backoff_max: Seconds = Field(60.0, description="The longest pause after a failed start.")
    breaker_failures: Annotated[Count, Field(ge=1)] = Field(3, description="Failed starts in a row that pause starts.")
    breaker_open: Seconds = Field(60.0, description="For how long starts are paused then.")
    quarantine: Seconds = Field(
        300.0,
        description="Keep a cluster that could not be proven clean for so long, to look at it, unless its room is "
        "needed; 0 stops it at once.",
    )
    max_leases_per_cluster: Annotated[Count, Field(ge=1)] = Field(1, description="More lets holders of a tenant share.")
    serve_larger: bool = Field(
        False,
        description="A larger idle cluster of the tenant may serve a smaller request; what stands ready by demand is "
        "reckoned for both together.",
    )
    resident_share: Share = Field(
        0.5, description="How much of a node's object store resident data may take, in clusters started from then on."
    )
    idle_cost_per_hour: IdleCostSection = Field(
        IdleCostSection(), description="What an hour of clusters that nobody uses costs, by resource."
    )
    waiting_cost_per_hour: Price = Field(0.0, description="What an hour of somebody's waiting costs.")
    target: TargetSection | None = Field(
        None,
        description="What `newsvendor`, or else `auto`, is to reach at least cost, instead of waiting_cost_per_hour.",
    )
    floor_for: Seconds = Field(
        86_400.0,
        description="min_idle and buffer end when nobody asked for so long; a sizing that looks at demand, after its "
        "half_life at least.",
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> PoolOptions:
        for policy, short in SHORT_FORMS.items():
            also = [name for name in short if name in self.model_fields_set]
            if policy in self.model_fields_set and getattr(self, policy) is not None and also:
                raise ValueError(f"gives both {policy} and {also[0]}; give one of them")
        if self.target is not None:
            self._check_target()
        return self

    def _check_target(self) -> None:
        if self.waiting_cost_per_hour:
            raise ValueError("gives both target and waiting_cost_per_hour, which say the same; give one of them")
        if also := [name for name in ("hits", "wait_p95") if getattr(self.sizing, name, 0)]:
            raise ValueError(f"gives both target and {also[0]} of sizing, which say the same; give one of them")
        if _follows(self.sizing):
            return
        short = [name for name in SHORT_FORMS["reclaim"] if name in self.model_fields_set]
        other = short[0] if short else f"reclaim: {self.reclaim.type}" if self.reclaim is not None else ""
        if other and other != "reclaim: auto":
            raise ValueError(
                f"gives both target and {other}; only reclaim: auto or sizing: newsvendor follows a target, so give one"
                " of them"
            )
        worth = [name for name in WORTH if getattr(self.reclaim, name, 0)]
        if worth:
            raise ValueError(f"gives both target and {worth[0]} of reclaim, which say the same; give one of them")

    def over(self, below: PoolOptions) -> Self:
        """Return these options, with what they leave open taken from `below`."""
        taken = {name: getattr(below, name) for name in below.model_fields_set if name in PoolOptions.model_fields}
        for policy, short in SHORT_FORMS.items():
            if self.model_fields_set & {policy}:
                taken = {name: value for name, value in taken.items() if name not in short}
            if self.model_fields_set & set(short):
                taken.pop(policy, None)
        follows = _follows(self.sizing if "sizing" in self.model_fields_set else taken.get("sizing"))
        if self.target is not None:
            # What it takes the place of.
            instead = ("waiting_cost_per_hour",) if follows else INSTEAD_OF_TARGET
            taken = {name: value for name, value in taken.items() if name not in instead}
        elif self.waiting_cost_per_hour or (not follows and self._says_what_a_start_is_worth()):
            taken.pop("target", None)
        new = {name: value for name, value in taken.items() if name not in self.model_fields_set}
        return self.model_copy(update=new)

    def _says_what_a_start_is_worth(self) -> bool:
        said = self.model_fields_set & set(INSTEAD_OF_TARGET)
        auto = self.reclaim is not None and self.reclaim.type == "auto"
        plain = auto and not any(getattr(self.reclaim, name) for name in WORTH)
        return bool(said - {"reclaim"}) or (bool(said) and not plain)

    def decided(self) -> Self:
        """Return these options; where they do not say when idle clusters are stopped, that is learned."""
        if self.reclaim is not None or self.model_fields_set & set(SHORT_FORMS["reclaim"]):
            return self
        return self.model_copy(update={"reclaim": AUTO})


AUTO = TypeAdapter(ReclaimChoice).validate_python("auto")
"""The policy that stops idle clusters where nothing is said."""

WORTH = tuple(name.removesuffix("_s") for name in SAYS_WORTH)
"""Options of policies that say what a start is worth, as a target does."""


def _follows(sizing: Any) -> bool:
    """Tell whether a sizing follows a target before `auto` does: it weighs idle time, and has no price of its own."""
    return getattr(sizing, "type", "") == "newsvendor" and not any(getattr(sizing, name) for name in WORTH)


SHORT_FORMS = {"reclaim": ("idle_ttl", "idle_jitter", "workers_idle_ttl"), "sizing": ("min_idle", "buffer")}
"""Policies that have a short form, and the settings that are it."""


INSTEAD_OF_TARGET = ("reclaim", *SHORT_FORMS["reclaim"], "waiting_cost_per_hour")
"""Settings that a target given beside them would contradict: of a pool and its defaults, the pool's counts."""


class PoolSection(PoolOptions):
    """A pool: a name, which keys it is for, and its settings."""

    name: Annotated[str, Field(pattern=_NAME)] = Field(description="Shown in metrics and logs.")
    match: Match | None = Field(None, description="Which keys it is for; all that are left, if not given.")
    key: KeySpec | None = Field(None, description="The one key it is for. Such a pool exists from the start.")
