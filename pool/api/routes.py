"""Every operation of the API, in one table: it is what is dispatched, checked and documented."""

from __future__ import annotations

from pool.access import Role
from pool.api import history, leases, ledger, operate, service
from pool.api.core import Handler, Route
from pool.core.reasons import Reason
from pool.wire.leases import (
    AcquireAnswer,
    AcquireRequest,
    EndedAnswer,
    LeaseProof,
    ReleaseRequest,
    RenewAnswer,
    RenewManyAnswer,
    RenewManyRequest,
    WatchAnswer,
    WatchRequest,
)
from pool.wire.lists import (
    ClusterList,
    ClusterQuery,
    LeaseList,
    LeaseQuery,
    PoolList,
    PoolQuery,
    WaiterList,
    WaiterQuery,
)
from pool.wire.operate import ConfigAnswer, DoneAnswer, Health, PrewarmRequest, ResizeRequest, RevokeRequest
from pool.wire.records import HistoryList, HistoryQuery, LedgerList, LedgerQuery, ShadowAnswer
from pool.wire.views import ClusterExplanation, ClusterView, Explanation, LeaseAnswer, PoolView

_PROOF = (Reason.WRONG_TOKEN, Reason.STALE_EPOCH, Reason.UNKNOWN_LEASE, Reason.LEASE_ENDED)
_KEY = (Reason.INVALID_KEY, Reason.SHAPE_TOO_LARGE)
_ACQUIRE = (
    *_KEY,
    Reason.WARM_ONLY_MISS,
    Reason.WAIT_TIMEOUT,
    Reason.QUEUE_FULL,
    Reason.REQUEST_ENDED,
    Reason.REQUEST_MISMATCH,
    Reason.POOL_CORDONED,
    Reason.CANCELLED,
    Reason.WAITER_GONE,
    Reason.NESTED_DEADLOCK,
    Reason.CONFLICT,
    Reason.START_FAILED,
    Reason.BREAKER_OPEN,
    Reason.SHUTDOWN,
)
_STARTS = (
    Reason.POOL_CEILING,
    Reason.TENANT_CEILING,
    Reason.DAEMON_CEILING,
    Reason.MAX_STARTING,
    Reason.START_BACKOFF,
    Reason.BREAKER_OPEN,
)


def _verb(path: str, name: str, handler: Handler, summary: str, unknown: Reason) -> Route:
    tag = path.split("/")[2]
    return Route(
        "POST", path, name, handler, summary, tag, Role.OPERATOR, answer=DoneAnswer, reasons=(unknown, Reason.CONFLICT)
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "POST", "/v1/leases", "acquire", leases.acquire, "Acquire a lease", "leases", Role.CLIENT,
        body=AcquireRequest, answer=AcquireAnswer, reasons=_ACQUIRE,
    ),
    Route(
        "POST", "/v1/leases/{id}/renew", "renew", leases.renew, "Renew a lease", "leases", Role.CLIENT,
        body=LeaseProof, answer=RenewAnswer, reasons=_PROOF,
    ),
    Route(
        "POST", "/v1/leases/{id}/release", "release", leases.release, "Release a lease", "leases", Role.CLIENT,
        body=ReleaseRequest, answer=EndedAnswer, reasons=_PROOF,
    ),
    Route(
        "POST", "/v1/renew", "renewMany", leases.renew_many, "Renew many leases", "leases", Role.CLIENT,
        body=RenewManyRequest, answer=RenewManyAnswer,
    ),
    Route(
        "POST", "/v1/watch", "watch", leases.watch, "Wait for news of leases", "leases", Role.CLIENT,
        body=WatchRequest, answer=WatchAnswer,
    ),
    Route(
        "POST", "/v1/leases/{id}/cancel", "cancel", leases.cancel, "Cancel an acquire", "leases", Role.CLIENT,
        answer=EndedAnswer, reasons=(Reason.UNKNOWN_LEASE, Reason.LEASE_ENDED, Reason.CONFLICT),
    ),
    Route(
        "POST", "/v1/leases/{id}/revoke", "revoke", leases.revoke, "Revoke a lease", "leases", Role.OPERATOR,
        body=RevokeRequest, answer=EndedAnswer, reasons=(Reason.UNKNOWN_LEASE, Reason.LEASE_ENDED),
    ),
    Route(
        "GET", "/v1/leases", "listLeases", leases.list_leases, "List leases", "leases", Role.CLIENT,
        query=LeaseQuery, answer=LeaseList,
    ),
    Route(
        "GET", "/v1/leases/{id}", "getLease", leases.get_lease, "Get a lease", "leases", Role.CLIENT,
        answer=LeaseAnswer, reasons=(Reason.UNKNOWN_LEASE,),
    ),
    Route(
        "GET", "/v1/leases/{id}/explain", "explainLease", leases.explain, "Explain a lease", "leases", Role.CLIENT,
        answer=Explanation, reasons=(Reason.UNKNOWN_LEASE,),
    ),
    Route(
        "GET", "/v1/history", "listHistory", history.list_history, "List what was asked for", "history",
        Role.OPERATOR, query=HistoryQuery, answer=HistoryList,
    ),
    Route(
        "GET", "/v1/ledger", "getLedger", ledger.get_ledger, "What was spent, and on what", "history",
        Role.OPERATOR, query=LedgerQuery, answer=LedgerList,
    ),
    Route(
        "GET", "/v1/waiters", "listWaiters", leases.list_waiters, "List waiters", "waiters", Role.CLIENT,
        query=WaiterQuery, answer=WaiterList,
    ),
    Route(
        "GET", "/v1/pools", "listPools", operate.list_pools, "List pools", "pools", Role.CLIENT,
        query=PoolQuery, answer=PoolList,
    ),
    Route(
        "GET", "/v1/pools/{id}", "getPool", operate.get_pool, "Get a pool", "pools", Role.CLIENT,
        answer=PoolView, reasons=(Reason.UNKNOWN_POOL,),
    ),
    _verb("/v1/pools/{id}/cordon", "cordonPool", operate.cordon_pool, "Cordon a pool", Reason.UNKNOWN_POOL),
    _verb("/v1/pools/{id}/uncordon", "uncordonPool", operate.uncordon_pool, "Uncordon a pool", Reason.UNKNOWN_POOL),
    _verb("/v1/pools/{id}/drain", "drainPool", operate.drain_pool, "Drain a pool", Reason.UNKNOWN_POOL),
    Route(
        "POST", "/v1/pools/{id}/resize", "resizePool", operate.resize_pool, "Resize a pool", "pools", Role.OPERATOR,
        body=ResizeRequest, answer=DoneAnswer, reasons=(Reason.UNKNOWN_POOL,),
    ),
    Route(
        "POST", "/v1/prewarm", "prewarm", operate.prewarm, "Prewarm a pool", "pools", Role.OPERATOR,
        body=PrewarmRequest, answer=DoneAnswer, reasons=(*_KEY, *_STARTS),
    ),
    Route(
        "GET", "/v1/clusters", "listClusters", operate.list_clusters, "List clusters", "clusters", Role.CLIENT,
        query=ClusterQuery, answer=ClusterList,
    ),
    Route(
        "GET", "/v1/clusters/{id}", "getCluster", operate.get_cluster, "Get a cluster", "clusters", Role.CLIENT,
        answer=ClusterView, reasons=(Reason.UNKNOWN_CLUSTER,),
    ),
    Route(
        "GET", "/v1/clusters/{id}/explain", "explainCluster", operate.explain, "Explain a cluster", "clusters",
        Role.CLIENT, answer=ClusterExplanation, reasons=(Reason.UNKNOWN_CLUSTER,),
    ),
    _verb(
        "/v1/clusters/{id}/cordon", "cordonCluster", operate.cordon_cluster, "Cordon a cluster",
        Reason.UNKNOWN_CLUSTER,
    ),
    _verb(
        "/v1/clusters/{id}/uncordon", "uncordonCluster", operate.uncordon_cluster, "Uncordon a cluster",
        Reason.UNKNOWN_CLUSTER,
    ),
    _verb("/v1/clusters/{id}/drain", "drainCluster", operate.drain_cluster, "Drain a cluster", Reason.UNKNOWN_CLUSTER),
    Route(
        "GET", "/v1/config", "getConfig", service.config, "Get the configuration in force", "service", Role.OPERATOR,
        answer=ConfigAnswer,
    ),
    Route(
        "GET", "/v1/shadow", "getShadow", service.shadow, "Compare a candidate policy", "service", Role.OPERATOR,
        answer=ShadowAnswer, reasons=(Reason.CONFLICT,),
    ),
    Route(
        "GET", "/healthz", "healthz", service.healthz, "Is it alive?", "service", None,
        answer=Health, reasons=(Reason.STORE_FAILED,), needs_ready=False,
    ),
    Route(
        "GET", "/readyz", "readyz", service.readyz, "Does it answer?", "service", None,
        answer=Health, reasons=(Reason.STORE_FAILED, Reason.NOT_READY), needs_ready=False,
    ),
    Route(
        "GET", "/metrics", "metrics", service.metrics, "Metrics for Prometheus", "service", Role.METRICS,
        media="text/plain", reasons=(Reason.UNKNOWN_PATH,), needs_ready=False,
    ),
    Route(
        "GET", "/docs", "docs", service.docs, "This API as a page", "service", None, media="text/html",
        needs_ready=False,
    ),
)  # fmt: skip
