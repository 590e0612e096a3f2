"""The whole configuration, as the file says it and with its defaults."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, model_validator

from pool.config.access import AccessSection
from pool.config.choice import EvictionChoice, ReclaimChoice
from pool.config.existing import ExistingSection
from pool.config.flyte import FlyteSection
from pool.config.pools import CeilingSection, PoolOptions, PoolSection, Section
from pool.config.values import Address, Count, Cpu, Directory, Listen, Memory, Seconds, Share, finite

DEFAULT_POOL = "default"


def _namespace(value: object) -> str:
    try:
        named = value.format(project="p", domain="d", tenant="p-d") if isinstance(value, str) else ""
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{value!r} has another placeholder than {{project}}, {{domain}} and {{tenant}}") from None
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", named):
        raise ValueError(f"{value!r} is not a namespace")
    return str(value)


def default_state_dir() -> Path:
    """Return ``$WARMPOOL_STATE_DIR``, or ``warmpool`` where the XDG specification puts state (~/.local/state)."""
    given = os.environ.get("WARMPOOL_STATE_DIR")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "warmpool"


class StoreSection(Section):
    """Where leases, clusters and their history are kept."""

    url: str | None = Field(None, description="SQLAlchemy URL; a SQLite file in state_dir if not given.")
    url_file: Directory | None = Field(
        None, description="A file of the daemon's user that holds the URL instead: for one with a password."
    )
    keep_history: Seconds = Field(90 * 86_400.0, description="Ended leases and stopped clusters are kept so long.")


class LocalSection(Section):
    """Ray clusters on this machine."""

    lets_workers_go: ClassVar[bool] = False

    type: Literal["local"] = "local"
    python: str = Field(sys.executable, description="The Python that runs Ray.")
    unclaimed: Annotated[Seconds, Field(ge=60)] = Field(
        900.0, description="Clusters that no daemon has claimed for so long stop themselves."
    )
    cpu: Cpu | None = Field(None, description="Logical CPUs of this machine to use; what it has, if not given.")
    memory: Memory | None = Field(None, description="Memory of this machine to use; what it has, if not given.")
    gpu: Count | None = Field(None, description="GPUs of this machine to use; what it has, if not given.")
    cpu_overcommit: Annotated[float, BeforeValidator(finite), Field(ge=1, le=1000)] = Field(
        1.0, description="One cluster may have this many times the machine's CPUs."
    )
    object_store_memory: Memory = Field(2 * 2**30, description="Object store of a node whose shape does not say it.")
    prestart_workers: bool = Field(True, description="Start worker processes before the first task asks for them.")
    temp_root: Directory = Field(
        Path("/tmp"),  # noqa: S108
        description="Directory of the clusters' temp dirs, which hold what their tasks put into `TMPDIR`; short.",
    )
    env: dict[str, str] = Field({}, description="Variables given to the clusters' processes.")
    inherit: list[str] = Field([], description="Names of variables that they inherit of the daemon.")


class SimulatedSection(Section):
    """Clusters that only exist in the daemon's memory, to try policies, clients and alerts."""

    lets_workers_go: ClassVar[bool] = True

    type: Literal["simulated"] = "simulated"
    start: Seconds = Field(2.0, description="How long a start takes.")
    grow: Seconds = Field(1.0, description="How long it takes to get workers back.")
    shrink: Seconds = Field(0.2, description="How long it takes to let workers go.")
    stop: Seconds = Field(0.2, description="How long a stop takes.")
    reset: Seconds = Field(0.1, description="How long a reset takes.")
    start_fails: Share = Field(0.0, description="Share of the starts that fail.")
    reset_fails: Share = Field(0.0, description="Share of the resets that find the cluster not clean.")


class KuberaySection(Section):
    """Ray clusters on Kubernetes, run by the KubeRay operator."""

    lets_workers_go: ClassVar[bool] = True

    type: Literal["kuberay"] = "kuberay"
    namespace: Annotated[str, BeforeValidator(_namespace)] = Field(
        "default", description="Namespace of a tenant's clusters; {project}, {domain} and {tenant} are replaced."
    )
    template: dict[str, Any] = Field(
        {}, description="A RayCluster laid under each one; a worker group without groupName is laid under every group."
    )
    ray_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field(
        "2.52.0", description="Ray's version where an image's tag does not say it."
    )
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(
        "", description="Of the Ray containers; left to Kubernetes if empty."
    )
    addresses: Literal["service", "pod"] = Field(
        "service", description="What holders are told: names inside the cluster, or the addresses of pods."
    )
    kubeconfig: Directory | None = Field(
        None, description="How to reach Kubernetes; the pod's service account, else KUBECONFIG, if not given."
    )
    context: str = Field("", description="Context of the kubeconfig; its current one if empty.")
    prestart_workers: bool = Field(True, description="After a reset, let idle worker processes wait for the next task.")
    node_wait: Seconds = Field(
        30.0, description="A pod may find no node for so long; longer than a node takes to come, where nodes come."
    )


class TenantSection(Section):
    """Limits and weight of the tenants that a pattern matches, each for itself. The first that matches counts."""

    match: Annotated[str, Field(min_length=1)] = Field(description="Pattern of the tenant, such as `ml-*/production`.")
    ceiling: CeilingSection = Field(CeilingSection(), description="The most of each such tenant.")
    weight: Annotated[float, BeforeValidator(finite), Field(ge=0.001, le=1000)] = Field(
        1.0, description="What each gets of the room that tenants share, against the others (queue_order: fair_share)."
    )

    @model_validator(mode="after")
    def _says_something(self) -> TenantSection:
        if not self.model_fields_set & {"ceiling", "weight"}:
            raise ValueError("says nothing of them; give ceiling, weight or both")
        return self


class ShadowSection(Section):
    """A candidate policy that runs beside the live ones on live demand. Nothing that it decides is done."""

    reclaim: ReclaimChoice = Field(description="Policy that would stop idle clusters.")
    pools: list[str] = Field([], description="Names of the pools that it would be for; all of them if empty.")


class LogSection(Section):
    """What the daemon says of itself on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level shown.")
    format: Literal["auto", "json", "text"] = Field("auto", description="auto: text on a terminal, JSON elsewhere.")


class Config(Section):
    """The configuration of a daemon."""

    listen: Listen = Field(Address("127.0.0.1", 8787), description="Address of the API; port 0 takes a free one.")
    listen_publicly: bool = Field(False, description="Must be true to listen where other machines can reach it.")
    state_dir: Directory = Field(default_factory=default_state_dir, description="Directory of tokens, store, clusters.")
    tokens_dir: Directory | None = Field(
        None,
        description="Directory of tokens.key and tokens.yaml, which all daemons of a store share; state_dir if empty.",
    )
    store: StoreSection = StoreSection()
    access: AccessSection = AccessSection()
    backend: Annotated[LocalSection | SimulatedSection | KuberaySection | ExistingSection, Discriminator("type")] = (
        LocalSection()
    )
    ceiling: CeilingSection = Field(CeilingSection(), description="The most of everything.")
    max_starting: Annotated[Count, Field(ge=1)] = Field(4, description="Clusters that may be starting at once.")
    eviction: EvictionChoice = Field(
        "longest_idle",
        validate_default=True,
        description="Which idle cluster is stopped where a ceiling has no room for a waiter.",
    )
    tenants: list[TenantSection] = Field([], description="Limits and weights of tenants.")
    reconcile_interval: Annotated[Seconds, Field(ge=1)] = Field(
        10.0, description="How often the clusters that exist are compared with those that should."
    )
    flyte: FlyteSection | None = Field(None, description="Flyte's own API: holds end as workflows do.")
    log: LogSection = LogSection()
    defaults: PoolOptions = Field(PoolOptions(), description="Settings of every pool that does not say otherwise.")
    pools: list[PoolSection] = Field([], description="Pools; the first that matches a key is its pool.")
    shadow: ShadowSection | None = Field(
        None, description="A candidate policy that is compared with the live ones; none if not given."
    )

    @property
    def tokens(self) -> Path:
        """The directory of the tokens and of their key."""
        return (self.tokens_dir or self.state_dir).absolute()

    @property
    def store_url(self) -> str:
        """The URL of the store: the one given, or a SQLite file in `state_dir`. One in `url_file` is not read here."""
        return self.store.url or f"sqlite:///{self.state_dir / 'warmpool.sqlite'}"

    def shadowed(self) -> Config:
        """Return the (completed) configuration as it would be with what is in the shadow."""
        shadow = self.shadow
        if shadow is None:
            return self
        pools = [
            pool.model_copy(update={"reclaim": shadow.reclaim})
            if not shadow.pools or pool.name in shadow.pools
            else pool
            for pool in self.pools
        ]
        return self.model_copy(update={"pools": pools})

    def completed(self) -> Config:
        """Return the configuration with `defaults` put into each pool, and a last pool that takes every other key."""
        pools = [pool.over(self.defaults).decided() for pool in self.pools]
        if not any(pool.name == DEFAULT_POOL for pool in self.pools):
            pools.append(PoolSection(name=DEFAULT_POOL).over(self.defaults).decided())
        return self.model_copy(update={"pools": pools})
