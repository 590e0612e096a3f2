"""Every field of every record survives the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pool.core.decisions import Change
from pool.core.key import Footprint, key_from
from pool.core.model import Cluster, ClusterState, Evidence, Lease, LeaseState, Mode, Outcome, Pool, Waiter, record_id
from pool.core.reasons import Reason
from pool.store import tables
from pool.store.base import stored
from pool.store.sql import SqlStore

TEXT = st.text(max_size=20)
COUNT = st.integers(0, 2**63 - 1)
TIME = st.floats(0, 1e12)
IDS = st.lists(TEXT, max_size=3).map(tuple)
REASON = st.sampled_from(Reason)
FOOTPRINT = st.builds(Footprint, COUNT, COUNT, COUNT, COUNT)
NODE = st.fixed_dictionaries(
    {"cpu": st.integers(0, 999_999).map(lambda n: f"{n}m")},
    optional={
        "memory": st.integers(1, 2**40),
        "object_store_memory": st.integers(1, 2**40),
        "gpu": st.integers(1, 16),
        "accelerator": st.sampled_from(["A100", "T4"]),
        "custom": st.dictionaries(TEXT, st.floats(0, 1e6), max_size=3),
        "start_params": st.dictionaries(TEXT, TEXT, max_size=3),
        "pod": st.dictionaries(TEXT, TEXT | st.integers() | st.lists(TEXT, max_size=2), max_size=3),
    },
)
GROUP = st.tuples(NODE, st.integers(1, 4), st.integers(0, 4)).map(
    lambda t: {**t[0], "replicas": t[1], "min_replicas": 1, "max_replicas": t[1] + t[2]}
)
KEY = st.builds(
    lambda image, head, workers, autoscaling: key_from(
        {
            "image": image,
            "tenant": "project/domain",
            "shape": {"head": head, "workers": workers, "autoscaling": autoscaling},
        }
    ),
    st.sampled_from(["image", "registry:5000/a/b@sha256:00ff"]),
    NODE,
    st.lists(GROUP, max_size=2),
    st.booleans(),
)
POOL = st.builds(
    Pool, TEXT, KEY, TEXT, COUNT, COUNT, TIME, TIME, TEXT, st.booleans(), st.none() | COUNT, st.none() | COUNT, TIME
)
CLUSTER = st.builds(
    Cluster,
    id=TEXT,
    pool=TEXT,
    tenant=TEXT,
    seq=COUNT,
    footprint=FOOTPRINT,
    state=st.sampled_from([state for state in ClusterState if state is not ClusterState.STOPPED]),
    cause=REASON,
    created_at=TIME,
    changed_at=TIME,
    epoch=COUNT,
    leases=IDS,
    uses=COUNT,
    ready_at=st.none() | TIME,
    boot_id=TEXT,
    address=TEXT,
    client_address=TEXT,
    dashboard_url=TEXT,
    ray_version=TEXT,
    group=TEXT,
    hold_until=TIME,
    cordoned=st.booleans(),
    doom=st.none() | REASON,
    reason=st.none() | REASON,
    detail=TEXT,
    retires_at=TIME,
    idle_since=TIME,
    resizes=COUNT,
    grow_s=st.none() | TIME,
    evidence=st.none() | st.builds(Evidence, TEXT, TEXT, TIME, st.lists(TEXT).map(tuple)),
    grown_at=TIME,
    phase=st.just(""),
    group_only=st.booleans(),
    degraded=TEXT,
    degraded_at=TIME,
)
LEASE = st.builds(
    Lease,
    id=TEXT,
    cluster=TEXT,
    pool=TEXT,
    tenant=TEXT,
    caller=TEXT,
    request_id=TEXT,
    holder=TEXT,
    group=TEXT,
    priority=st.integers(-(2**63), 2**63 - 1),
    mode=st.sampled_from(Mode),
    epoch=COUNT,
    state=st.sampled_from(LeaseState),
    outcome=st.sampled_from(Outcome),
    miss=st.none() | REASON,
    asked_at=TIME,
    granted_at=TIME,
    ttl_s=TIME,
    expires_at=TIME | st.just(float("inf")),
    max_until=TIME,
    hold_s=TIME,
    ended_at=st.none() | TIME,
    end_reason=st.none() | REASON,
    end_detail=TEXT,
    renewed_in=COUNT,
)
WAITER = st.builds(
    Waiter,
    id=TEXT,
    pool=TEXT,
    tenant=TEXT,
    caller=TEXT,
    request_id=TEXT,
    holder=TEXT,
    group=TEXT,
    priority=st.integers(-100, 100),
    mode=st.sampled_from(Mode),
    asked_at=TIME,
    rank=st.floats(-1e12, 1e12),
    deadline=TIME,
    seen_until=TIME,
    ttl_s=TIME,
    hold_s=TIME,
    miss=REASON,
    local_until=TIME,
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, str]]:
    file: Path = tmp_path_factory.mktemp("records") / "warmpool.sqlite"
    with asyncio.Runner() as runner:
        yield runner, f"sqlite:///{file}"


Records = list[Pool | Cluster | Lease | Waiter]
RECORDS = st.lists(
    st.one_of(POOL, CLUSTER, LEASE, WAITER),
    min_size=1,
    max_size=20,
    unique_by=(
        lambda record: (type(record), record_id(record)),
        lambda record: (record.caller, record.request_id) if isinstance(record, Lease) else object(),
    ),
)


async def _after_a_restart(url: str, records: Records) -> Records:
    """Write the records, restart, and return all that is there; leave nothing for the next time."""
    store = SqlStore(url)
    try:
        await store.open(0.0)
        await store.commit([Change(None, record) for record in records])
        await store.close()
        loaded = await store.open(0.0)
        await store._run(lambda tx: [tx.write(f"DELETE FROM {t}") for t in ("clusters", "leases", "waiters", "pools")])
        return [*loaded.pools, *loaded.clusters, *loaded.leases, *loaded.waiters, *loaded.ended]
    finally:
        await store.close()


@settings(deadline=None, max_examples=40)
@given(RECORDS)
def test_records_are_the_same_after_a_restart(disk: tuple[asyncio.Runner, str], records: Records) -> None:
    runner, url = disk
    found = {(type(record), record_id(record)): record for record in runner.run(_after_a_restart(url, records))}
    records = [stored(record) if isinstance(record, Cluster) else record for record in records]
    assert found == {(type(record), record_id(record)): record for record in records}
    for record in records:
        # Equal is not enough: 1 equals True, and a list for a tuple would fail later.
        back = found[type(record), record_id(record)]
        for name in record._fields:
            assert type(getattr(back, name)) is type(getattr(record, name)), name
        if isinstance(record, Pool):
            assert back.key.digest == record.key.digest


@pytest.mark.parametrize(("kind", "table"), [(Pool, tables.pools), (Lease, tables.leases), (Waiter, tables.waiters)])
def test_a_table_has_a_column_for_each_field_in_order(kind, table) -> None:
    assert [*kind._fields] == [column.name for column in table.c]


def test_an_idle_cluster_that_is_clean_for_its_group_alone_is_reset_by_a_restart() -> None:
    cluster = Cluster("c-1", "p", "t", 1, Footprint(1), ClusterState.IDLE, Reason.MISS, 1.0, 2.0, group_only=True)
    assert stored(cluster).state is ClusterState.RESETTING
    assert stored(cluster._replace(state=ClusterState.LEASED)).state is ClusterState.LEASED


def test_the_clusters_table_has_all_but_what_is_not_kept_with_the_footprint_spread_out() -> None:
    names = [column.name for column in tables.clusters.c]
    at = names.index("footprint_clusters")
    names[at : at + 4] = ["footprint"]
    # The ledger's, of which a record knows nothing.
    names = [name for name in names if not name.startswith("booked_")]
    assert [*names, "grown_at", "phase", "group_only", "degraded", "degraded_at", "resident", "wear", "slow"] == [
        *Cluster._fields
    ]
