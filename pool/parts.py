"""The parts of a daemon that the configuration names: each is imported only where it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pool.backends.base import Backend
from pool.config import Config
from pool.config.existing import ExistingSection
from pool.config.model import KuberaySection, SimulatedSection
from pool.core.errors import PoolError
from pool.core.reasons import Reason
from pool.tokens import UnsafeFile, read_private

if TYPE_CHECKING:
    from pool.backends.existing.options import Entry
    from pool.backends.kuberay.options import KuberayOptions
    from pool.holds.flyte import Flyte
    from pool.kube.review import Reviewer
    from pool.kube.role import RoleLabel


def make_backend(config: Config) -> tuple[Backend, int | None]:
    """Return the backend that the configuration names, and the thousandths of a cpu that its clusters share.

    The latter is None where clusters do not share this machine.
    """
    section = config.backend
    if isinstance(section, SimulatedSection):
        from pool.backends.simulated import Behaviour, SimulatedBackend, SimulatedWorld

        behaviour = Behaviour(
            start_s=(section.start, section.start),
            grow_s=(section.grow, section.grow),
            shrink_s=(section.shrink, section.shrink),
            stop_s=(section.stop, section.stop),
            reset_s=(section.reset, section.reset),
            start_fails=section.start_fails,
            reset_dirty=section.reset_fails,
        )
        return SimulatedBackend(SimulatedWorld(behaviour=behaviour)), None
    if isinstance(section, KuberaySection):
        from pool.backends.kuberay.backend import KuberayBackend

        return KuberayBackend(kuberay_options(section)), None
    if isinstance(section, ExistingSection):
        from pool.backends.existing.backend import ExistingBackend
        from pool.backends.existing.options import ExistingOptions

        options = ExistingOptions(entries_of(section), section.probe_interval, section.lost_after)
        return ExistingBackend(options), None
    from pool.backends.local.backend import LocalBackend
    from pool.backends.local.options import LocalOptions

    local = LocalOptions(
        python=section.python,
        unclaimed_s=section.unclaimed,
        milli_cpu=section.cpu,
        memory_bytes=section.memory,
        gpu=section.gpu,
        cpu_overcommit=section.cpu_overcommit,
        object_store_bytes=section.object_store_memory,
        prestart_workers=section.prestart_workers,
        temp_root=str(section.temp_root),
        env=section.env,
        inherit=tuple(section.inherit),
    )
    backend = LocalBackend(config.state_dir, options=local)
    return backend, int(backend.machine.milli_cpu * local.cpu_overcommit)


def entries_of(section: ExistingSection) -> tuple[Entry, ...]:
    """Return the clusters that the configuration names, each with its token.

    Raises:
        PoolError: if the file of a token cannot be read.
    """
    from pool.backends.existing.options import Entry

    return tuple(
        Entry(
            name=given.name,
            dashboard=given.dashboard,
            address=given.address,
            tenant=given.tenant,
            token=given.secret(),
            client_address=given.client_address,
            image=given.image,
            shape=given.shape_given(),
            exclusive=given.exclusive,
            readmit=given.readmit,
        )
        for given in section.clusters
    )


def kuberay_options(section: KuberaySection) -> KuberayOptions:
    """Return the settings of the kuberay backend that the configuration gives."""
    from pool.backends.kuberay.options import KuberayOptions

    return KuberayOptions(
        namespace=section.namespace,
        template=section.template,
        ray_version=section.ray_version,
        image_pull_policy=section.image_pull_policy,
        addresses=section.addresses,
        kubeconfig=str(section.kubeconfig or ""),
        context=section.context,
        node_wait_s=section.node_wait,
        prestart_workers=section.prestart_workers,
    )


def make_reviewer(config: Config) -> Reviewer | None:
    """Return what knows the callers of the Kubernetes that the configuration names, None if it names none.

    Raises:
        PoolError: if the client of Kubernetes is not installed.
    """
    section = config.access.kubernetes
    if section is None:
        return None
    try:
        from pool.kube.api import Api
        from pool.kube.review import Reviewer
    except ImportError as error:
        raise PoolError(
            f"access.kubernetes needs a package that is not installed: {error.name}.",
            reason=Reason.INVALID_REQUEST,
            remedy="Install warmpool[kubernetes].",
        ) from None
    where = _kubernetes_of(config)
    made = Reviewer(lambda: Api.connect(*where))
    made.follow(section.rules())
    return made


def make_flyte(config: Config) -> Flyte | None:
    """Return what asks Flyte's own API; None if the configuration names none."""
    section = config.flyte
    if section is None:
        return None
    from pool.holds.flyte import Flyte, FlyteAccess

    return Flyte(
        FlyteAccess(
            section.url,
            section.version,
            section.token_file,
            section.client_id,
            section.client_secret_file,
            tuple(section.scopes),
        )
    )


def make_role(config: Config) -> RoleLabel | None:
    """Return what labels this process's pod as writer or standby; None if nothing says that it is in one."""
    if not os.environ.get("WARMPOOL_POD_UID"):
        return None
    from pool.kube.api import Api
    from pool.kube.role import Pod, RoleLabel

    where = _kubernetes_of(config)
    return RoleLabel(Pod.mine(), lambda: Api.connect(*where))


def store_url(config: Config) -> str:
    """Return the URL of the store, from the file that holds it if there is one.

    Raises:
        PoolError: if that file cannot be used.
    """
    file = config.store.url_file
    if file is None:
        return config.store_url
    try:
        return read_private(file).decode().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        remedy = "Correct store.url_file, or write the URL into that file."
        raise UnsafeFile(f"{file}, which is to hold the store's URL, is no text or not there.", remedy=remedy) from None


def _kubernetes_of(config: Config) -> tuple[str, str]:
    """Return the file and context that lead to the Kubernetes of the clusters; empty for the one that this runs in."""
    backend = config.backend
    return (str(backend.kubeconfig or ""), backend.context) if isinstance(backend, KuberaySection) else ("", "")
