"""Reads all that lives, and the recent past, in one go: tens of thousands of records in a fraction of a second."""

from __future__ import annotations

from pool.core.errors import PoolError, StoreFailed
from pool.interpreter import no_collection
from pool.store.base import Loaded
from pool.store.link import Tx
from pool.store.mapping import clusters_of, leases_of, pools_of, waiters_of
from pool.store.statements import Statements


def load(tx: Tx, sql: Statements, where: str, into: Loaded) -> Loaded:
    """Fill `into` with what the daemon starts from, and return it.

    Raises:
        StoreFailed: a row says something that this version does not know.
    """
    try:
        with no_collection():
            into.pools = pools_of(tx.rows(sql.live_pools))
            into.clusters = clusters_of(tx.rows(sql.live_clusters))
            into.leases = leases_of(tx.rows(sql.live_leases))
            into.waiters = waiters_of(tx.rows(sql.live_waiters))
            into.ended = leases_of(tx.rows(sql.last_ended))[::-1]
            into.learned = {name: told for name, told in tx.rows(sql.learned)}  # noqa: C416 rows are any sequences
            into.starts = [(pool, seconds) for pool, seconds in reversed(tx.rows(sql.last_starts))]
    except (KeyError, TypeError, ValueError, PoolError) as error:
        raise StoreFailed(
            f"The store {where} holds a record that this version of warmpool cannot read ({error}).",
            remedy="Install the version that wrote it again, or restore a backup.",
        ) from error
    return into
