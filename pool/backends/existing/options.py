"""What the configuration says of clusters that somebody else runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pool.core.key import Shape


@dataclass(frozen=True, slots=True)
class Entry:
    """One cluster.

    Attributes:
        name: for people, and to know it again after a restart of the daemon.
        dashboard: URL of its dashboard and jobs API.
        address: of its GCS, ``host:port``: what drivers connect to.
        client_address: ``ray://host:port``, empty for none.
        token: of the cluster; never shown.
        tenant: whose it is, the only one to get it.
        image: whose tasks it serves; empty for any, and its key then names the Ray that it reports.
        shape: of its nodes; None for what it reports.
        exclusive: nobody but the daemon's holders uses it: a reset removes all it finds.
        readmit: it serves again after an expired or revoked lease once it is proven clean.
    """

    name: str
    dashboard: str
    address: str
    tenant: str
    token: str = field(repr=False)
    client_address: str = ""
    image: str = ""
    shape: Shape | None = None
    exclusive: bool = False
    readmit: bool = False

    def same_cluster(self, other: Entry) -> bool:
        """Tell whether both say the same cluster under the same key; the rest can change under a lease."""
        return self == replace(other, token=self.token, exclusive=self.exclusive, readmit=self.readmit)


@dataclass(frozen=True, slots=True)
class ExistingOptions:
    """Settings of the backend.

    Attributes:
        entries: the clusters, by distinct names.
        probe_s: how often each is asked how it is.
        lost_after_s: one that does not answer for so long is lost.
        request_s: bound of one request.
        settle_s: how long a reset waits for what goes by itself.
    """

    entries: tuple[Entry, ...] = ()
    probe_s: float = 5.0
    lost_after_s: float = 30.0
    request_s: float = 5.0
    settle_s: float = 15.0
