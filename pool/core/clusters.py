"""What becomes of clusters: starts, resets, stops, losses."""

from __future__ import annotations

from pool.core import idling, learning, leases, quarantine, standing, warm_heads, wear
from pool.core.decisions import Nudge, Reply
from pool.core.events import Degraded, Lost, Progress, ResetDone, Started, StartFailed, Stopped
from pool.core.explain import worth
from pool.core.lifecycle import ClusterMove
from pool.core.model import Cluster, ClusterState, Mode, Pool
from pool.core.reasons import Reason
from pool.core.state import COMING_UP, UNUSED
from pool.core.timers import Kind
from pool.core.turn import Turn, jitter

# --- starts --------------------------------------------------------------------------------------------------------


def progress(turn: Turn, event: Progress) -> Reply:
    """Note the phase of a start, or of a growth, and tell who watches."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is not None and cluster.state in COMING_UP and cluster.phase != event.phase:
        turn.update(cluster, durable=False, phase=event.phase)
        turn.effect(Nudge(cluster.pool))
    return None


def started(turn: Turn, event: Started) -> Reply:
    """A cluster is ready, or has its workers back: it serves, and the pool's failures are forgotten."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is None or cluster.state not in COMING_UP:
        return None
    if cluster.state is ClusterState.GROWING and event.boot_id != cluster.boot_id:
        lose(turn, cluster, Reason.HEAD_REPLACED, Reason.HEAD_REPLACED.sentence)
        return None
    pool = turn.state.pools[cluster.pool]
    if pool.failures:
        turn.update(pool, failures=0, retry_at=0.0, breaker_until=0.0, last_error="")
    if cluster.doom is not None:
        turn.stop_cluster(cluster, cluster.doom, cluster.doomed)
        return None
    if cluster.state is ClusterState.GROWING:
        warm_heads.grown(turn, cluster)
        return None
    index = turn.state.index[cluster.pool]
    index.start_s.add(turn.now - cluster.created_at)
    if event.took_s is not None:
        index.charged_s.add(event.took_s)
    turn.move(
        cluster,
        ClusterMove.READY,
        ready_at=turn.now,
        boot_id=event.boot_id,
        address=event.address,
        client_address=event.client_address,
        dashboard_url=event.dashboard_url,
        ray_version=event.ray_version,
        phase="",
    )
    return None


def start_failed(turn: Turn, event: StartFailed) -> Reply:
    """A start, or a growth, came to nothing: what was begun is removed, and the pool pauses before it tries again."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is None or cluster.state not in COMING_UP:
        return None
    _fail_start(turn, cluster, event.reason, event.detail)
    return None


def _fail_start(turn: Turn, cluster: Cluster, reason: Reason, detail: str) -> None:
    pool = turn.state.pools[cluster.pool]
    settings = turn.settings(cluster.pool)
    failures = pool.failures + 1
    # Doubling with jitter; from half up to the whole, so that pools that failed together do not try together.
    pause_s = min(settings.backoff_max_s, settings.backoff_s * 2 ** min(failures - 1, 30))
    pause_s *= 0.5 + 0.5 * jitter(cluster.id)
    opens = failures >= settings.breaker_failures
    pool = turn.update(
        pool,
        failures=failures,
        retry_at=turn.now + pause_s,
        breaker_until=turn.now + settings.breaker_open_s if opens else 0.0,
        last_error=detail or reason.sentence,
    )
    if reason is Reason.NO_CAPACITY:
        # Not again and again: as much is not tried before something is stopped, or the breaker's time is over.
        turn.state.no_room_for = turn.state.usage
        turn.state.no_room_until = turn.now + settings.breaker_open_s
    if reason is Reason.NO_CAPACITY and cluster.state is ClusterState.GROWING:
        # Its head has room, and a start would find none either.
        turn.shrink_cluster(cluster, reason, detail or reason.sentence)
    else:
        turn.stop_cluster(cluster, reason, detail or reason.sentence)
    if opens and not turn.state.index[pool.digest].live:
        _refuse_creators(turn, pool)


def _refuse_creators(turn: Turn, pool: Pool) -> None:
    """The breaker opened and nothing of the pool lives that could come free: tell the waiters instead of hanging."""
    for waiter in turn.state.queue(pool.digest):
        if waiter.mode is Mode.WAIT_OR_CREATE:
            leases.refuse_waiter(
                turn,
                waiter,
                Reason.START_FAILED,
                f"{pool.failures} starts failed in a row. {pool.last_error}",
                "Mend the cause, then ask again.",
            )


# --- resets and stops ----------------------------------------------------------------------------------------------


def reset_done(turn: Turn, event: ResetDone) -> Reply:
    """A reset ended: the cluster serves again, or is quarantined, or is replaced."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is None or not leases.is_reset_pending(cluster, event.epoch):
        return None
    if cluster.group_only and not event.full:
        # The end of an earlier reset, for its group alone.
        return None
    settings = turn.settings(cluster.pool)
    others = settings.standing
    kept_out = others is not None and cluster.doom is Reason.HOLDER_NOT_GONE and not others.readmit
    beyond = wear.outgrown(settings, event.wear)
    if event.wear is not None:
        cluster = turn.update(cluster, durable=False, wear=event.wear)
    if cluster.doom is Reason.REMOVED:
        turn.stop_cluster(cluster, cluster.doom, cluster.doom.sentence)
    elif not event.clean:
        left = event.left or Reason.RESET_FAILED.sentence
        quarantine.unclean(turn, cluster, left, event.evidence or (left,))
    elif kept_out:
        quarantine.keep(turn, cluster, _KEPT_OUT, Reason.HOLDER_NOT_GONE)
    elif cluster.doom is not None and (others is None or cluster.doom is not Reason.HOLDER_NOT_GONE):
        turn.stop_cluster(cluster, cluster.doom, cluster.doomed)
    elif beyond is not None and others is None:
        turn.stop_cluster(cluster, *beyond)
    elif beyond is not None and beyond[0] is Reason.STORE_LEFT:
        # Nobody's to replace: it serves again once they are seen empty.
        quarantine.unclean(turn, cluster, beyond[1], (beyond[1],))
    else:
        _cleaned(turn, cluster, full=event.full)
    return None


_KEPT_OUT = (
    "A lease ended without its holder being seen gone, who still has the cluster's token. What began under the lease "
    "is gone. It serves again once its head was started anew, its token was changed, or an operator uncordons it."
)


def _cleaned(turn: Turn, cluster: Cluster, *, full: bool) -> None:
    hold_until = cluster.hold_until if cluster.hold_until > turn.now else 0.0
    # Not worth a commit: the next grant or stop writes the cluster as it is then, and a restart before that resets it
    # once more.
    turn.move(
        cluster,
        ClusterMove.CLEAN,
        durable=False,
        hold_until=hold_until,
        doom=None,
        reason=None,
        detail="",
        evidence=None,
        group_only=not full,
        # A full reset is proof that nothing is left of it.
        resident=() if full else cluster.resident,
    )


def stopped(turn: Turn, event: Stopped) -> Reply:
    """A cluster was seen gone."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is not None and cluster.state is ClusterState.STOPPING:
        turn.move(cluster, ClusterMove.GONE)
    return None


def lost(turn: Turn, event: Lost) -> Reply:
    """A ready cluster broke. An older incarnation's loss is no news."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is not None and (not event.boot_id or event.boot_id == cluster.boot_id):
        lose(turn, cluster, event.reason, event.detail)
    return None


def degraded(turn: Turn, event: Degraded) -> Reply:
    """A cluster is not what its key says, or is again: meanwhile nobody new gets it, and its holder is told."""
    cluster = turn.state.clusters.get(event.cluster_id)
    if cluster is None or cluster.boot_id != event.boot_id:
        return None
    if event.lasting and cluster.state is ClusterState.QUARANTINED:
        turn.stop_cluster(cluster, event.reason, event.detail)
        return None
    # A start is told apart; and whoever lets workers go misses them.
    past = (ClusterState.STARTING, ClusterState.QUARANTINED, ClusterState.STOPPING)
    if cluster.state in past or (cluster.state is ClusterState.SHRINKING and not event.lasting):
        return None
    if event.lasting:
        _replace(turn, cluster, event.reason, event.detail)
    elif event.detail != cluster.degraded:
        since = cluster.degraded_at if cluster.degraded else turn.now
        at = since if event.detail else 0.0
        cluster = turn.update(cluster, durable=False, degraded=event.detail, degraded_at=at)
        turn.touch(cluster.pool)
        if event.detail:
            turn.state.timers.arm(Kind.DEGRADED, cluster.id, at + turn.settings(cluster.pool).start_timeout_s)
    return None


def _replace(turn: Turn, cluster: Cluster, reason: Reason, detail: str) -> None:
    """Stop a cluster that is not what it should be: now, or when its lease has ended."""
    if cluster.state in UNUSED:
        turn.stop_cluster(cluster, reason, detail)
    elif cluster.doom is None:
        turn.update(cluster, doom=reason, detail=detail)
        turn.touch(cluster.pool)


def lose(turn: Turn, cluster: Cluster, reason: Reason, detail: str) -> None:
    """End the leases of a lost cluster and remove what is left of it."""
    state = cluster.state
    if reason is Reason.UNHEALTHY and turn.settings(cluster.pool).standing is not None:
        # It is out of sight, and may come back with all that a holder has there: that is no fresh cluster.
        if state is ClusterState.LEASED:
            cluster = leases.lose_leases(turn, cluster, detail)
            standing.reset_behind_back(turn, cluster, detail)
            return
        if state in (ClusterState.RESETTING, ClusterState.QUARANTINED):
            return
    if state is ClusterState.STARTING:
        _fail_start(turn, cluster, reason, detail)
    elif state not in (ClusterState.STOPPING, ClusterState.STOPPED):
        cluster = leases.lose_leases(turn, cluster, detail or reason.sentence)
        turn.stop_cluster(cluster, reason, detail or reason.sentence)


# --- what is due ---------------------------------------------------------------------------------------------------


def start_due(turn: Turn, cluster_id: str) -> float | None:
    """A start, or a growth, took too long."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.state in COMING_UP:
        due = cluster.changed_at + turn.settings(cluster.pool).start_timeout_s
        if turn.now < due:
            return due
        waited_s = turn.now - (cluster.created_at if cluster.state is ClusterState.STARTING else cluster.changed_at)
        phase = f", last phase: {cluster.phase}" if cluster.phase else ""
        _fail_start(turn, cluster, Reason.START_TIMEOUT, f"Not ready after {waited_s:.0f} s{phase}.")
    return None


def reset_due(turn: Turn, cluster_id: str) -> float | None:
    """A reset took too long."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.state is ClusterState.RESETTING:
        due = cluster.changed_at + turn.settings(cluster.pool).reset_timeout_s + 10.0
        if turn.now < due:
            return due
        said = f"the reset did not end in {turn.now - cluster.changed_at:.0f} s"
        quarantine.unclean(turn, cluster, said, (said,))
    return None


def slow_due(turn: Turn, cluster_id: str) -> float | None:
    """A reset takes longer than it should: who waits has another cluster started, and takes what is ready first."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.state is ClusterState.RESETTING and not cluster.slow:
        due = cluster.changed_at + turn.settings(cluster.pool).reset_wait_s
        if turn.now < due:
            return due
        turn.update(cluster, durable=False, slow=True)
        turn.touch(cluster.pool)
    return None


def keep_due(turn: Turn, cluster_id: str) -> float | None:
    """Reclaim what nobody uses, its policy no longer keeps, and no floor or hold protects."""
    state, now = turn.state, turn.now
    cluster = state.clusters.get(cluster_id)
    if cluster is None or cluster.state not in UNUSED:
        return None
    if turn.settings(cluster.pool).standing is not None:
        return now + idling.FLOOR_LOOK_S
    due = max(learning.keep_until(state, cluster, now), cluster.hold_until)
    if now < due:
        return due
    if idling.floor_needs(state, cluster, now):
        return now + idling.look_again_s(cluster, now)
    idle_s, kept_s = now - cluster.idle_since, max(0.0, due - cluster.idle_since)
    why = "; ".join(filter(None, (learning.why(state, cluster), worth(state, cluster.pool))))
    detail = f"idle for {idle_s:.0f} s, over its {kept_s:.0f} s"
    if due < min(cluster.idle_since, now - 1.0):
        # A restart had it reset once more: what was decided of its idle time counts from its release.
        detail = f"its idle time was over {now - due:.0f} s ago, before it was reset"
    detail += f": {why}" if why else ""
    turn.stop_cluster(cluster, Reason.IDLE_TTL, detail)
    return None


def degraded_due(turn: Turn, cluster_id: str) -> float | None:
    """A cluster misses workers for longer than a whole one takes to start: it is replaced."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.degraded:
        due = cluster.degraded_at + turn.settings(cluster.pool).start_timeout_s
        if turn.now < due:
            return due
        _replace(turn, cluster, Reason.DEGRADED, cluster.degraded)
    return None


def hold_due(turn: Turn, cluster_id: str) -> float | None:
    """A hold is over: the cluster is anybody's."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is None or cluster.state is not ClusterState.IDLE or not cluster.hold_until:
        return None
    if turn.now < cluster.hold_until:
        return cluster.hold_until
    turn.update(cluster, hold_until=0.0)
    turn.touch(cluster.pool)
    if cluster.group_only:
        turn.state.timers.arm(Kind.REST, cluster_id, turn.now)
    return None


def rest_due(turn: Turn, cluster_id: str) -> float | None:
    """Nobody of its group came: the cluster is reset in full. While it is held for the group, that has time."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is None or cluster.state is not ClusterState.IDLE or not cluster.group_only or cluster.hold_until:
        return None
    due = cluster.changed_at + turn.settings(cluster.pool).group_rest_s
    if turn.now < due:
        return due
    turn.reset_again(cluster)
    return None


def retire_due(turn: Turn, cluster_id: str) -> float | None:
    """A cluster that nobody uses reached the end of its life; a leased one retires when its lease ends."""
    cluster = turn.state.clusters.get(cluster_id)
    if cluster is not None and cluster.state in UNUSED and cluster.retires_at:
        if turn.now < cluster.retires_at:
            return cluster.retires_at
        turn.stop_cluster(cluster, Reason.MAX_LIFETIME, f"it is {turn.now - cluster.created_at:.0f} s old")
    return None
