"""What operators ask: pools, clusters, and what to do with them."""

from __future__ import annotations

from pool.api.core import Api, Ask
from pool.api.explain import explain_cluster
from pool.api.paging import page
from pool.api.views import cluster_view, pool_view
from pool.core.decisions import Done
from pool.core.events import Cordon, Event, Prewarm, Resize
from pool.wire.lists import ClusterList, ClusterQuery, PoolList, PoolQuery
from pool.wire.operate import DoneAnswer, PrewarmRequest, ResizeRequest
from pool.wire.views import ClusterExplanation, ClusterView, PoolView


async def list_pools(api: Api, ask: Ask) -> PoolList:
    """Return pools, first made first."""
    query: PoolQuery = ask.query
    state, now, caller = api.daemon.state, api.daemon.clock.now(), ask.known
    found = [
        pool
        for pool in state.pools.values()
        if (query.tenant is None or pool.key.tenant == query.tenant)
        and (query.name is None or pool.name == query.name)
        and caller.sees(pool.key.tenant)
    ]
    items, after = page(found, lambda pool: (pool.created_at, pool.digest), query)
    return PoolList(items=[pool_view(state, pool, now) for pool in items], next=after)


async def get_pool(api: Api, ask: Ask) -> PoolView:
    """Return one pool."""
    return pool_view(api.daemon.state, api.pool(ask.known, ask.id), api.daemon.clock.now())


async def list_clusters(api: Api, ask: Ask) -> ClusterList:
    """Return clusters, oldest first."""
    query: ClusterQuery = ask.query
    state, now, caller = api.daemon.state, api.daemon.clock.now(), ask.known
    found = [
        cluster
        for cluster in state.clusters.values()
        if (query.state is None or cluster.state is query.state)
        and (query.tenant is None or cluster.tenant == query.tenant)
        and caller.sees(cluster.tenant)
        and api.in_pool(cluster.pool, query.pool)
    ]
    items, after = page(found, lambda cluster: (cluster.created_at, cluster.id), query)
    return ClusterList(items=[cluster_view(state, cluster, now) for cluster in items], next=after)


async def get_cluster(api: Api, ask: Ask) -> ClusterView:
    """Return one cluster, also a stopped one."""
    cluster = await api.cluster(ask.known, ask.id)
    return cluster_view(api.daemon.state, cluster, api.daemon.clock.now())


async def explain(api: Api, ask: Ask) -> ClusterExplanation:
    """Return in sentences why a cluster was started, what it served and why it is as it is, also of a stopped one."""
    cluster = await api.cluster(ask.known, ask.id)
    state, now = api.daemon.state, api.daemon.clock.now()
    return ClusterExplanation(
        cluster_id=cluster.id,
        sentences=explain_cluster(state, cluster, now),
        cluster=cluster_view(state, cluster, now),
    )


async def cordon_cluster(api: Api, ask: Ask) -> DoneAnswer:
    """Grant a cluster to nobody new."""
    return await _cluster(api, ask, Cordon(ask.id))


async def uncordon_cluster(api: Api, ask: Ask) -> DoneAnswer:
    """Take a cordon (or a drain) back."""
    return await _cluster(api, ask, Cordon(ask.id, on=False))


async def drain_cluster(api: Api, ask: Ask) -> DoneAnswer:
    """Cordon a cluster, and stop it when its lease ends."""
    return await _cluster(api, ask, Cordon(ask.id, drain=True))


async def cordon_pool(api: Api, ask: Ask) -> DoneAnswer:
    """Grant nothing of a pool."""
    return await _pool(api, ask, Cordon(ask.id))


async def uncordon_pool(api: Api, ask: Ask) -> DoneAnswer:
    """Take a pool's cordon back."""
    return await _pool(api, ask, Cordon(ask.id, on=False))


async def drain_pool(api: Api, ask: Ask) -> DoneAnswer:
    """Cordon a pool, and stop its clusters as their leases end."""
    return await _pool(api, ask, Cordon(ask.id, drain=True))


async def resize_pool(api: Api, ask: Ask) -> DoneAnswer:
    """Set a pool's least number of idle clusters, or its ceiling, over its configuration."""
    message: ResizeRequest = ask.body
    return await _pool(api, ask, Resize(ask.id, message.min_idle, message.max_clusters))


async def prewarm(api: Api, ask: Ask) -> DoneAnswer:
    """Start clusters before anybody asks for them."""
    message: PrewarmRequest = ask.body
    key = api.key(ask.known, message.key)
    api.daemon.check(key)
    return _done(await api.submit(Prewarm(key, message.count), Done))


async def _cluster(api: Api, ask: Ask, event: Event) -> DoneAnswer:
    await api.cluster(ask.known, ask.id)
    return _done(await api.submit(event, Done))


async def _pool(api: Api, ask: Ask, event: Event) -> DoneAnswer:
    api.pool(ask.known, ask.id)
    return _done(await api.submit(event, Done))


def _done(reply: Done) -> DoneAnswer:
    return DoneAnswer(text=reply.text, ids=list(reply.ids))
