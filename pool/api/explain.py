"""Why a lease waited, missed and ended, told in sentences that are drawn from the records."""

from __future__ import annotations

from datetime import UTC, datetime

from pool.core import idling, learning
from pool.core.decisions import Queued
from pool.core.explain import worth
from pool.core.key import describe
from pool.core.model import Cluster, ClusterState, Evidence, Lease, LeaseState, Mode, Outcome, Waiter
from pool.core.state import UNUSED, State

_MODES = {
    Mode.WARM_ONLY: "It wanted an idle cluster at once or none.",
    Mode.WAIT: "It asked to wait for a release and to have no cluster started.",
}


def explain_lease(state: State, lease: Lease, cluster: Cluster | None, now: float) -> list[str]:
    """Return the story of a lease, living or ended: asked, waited, granted, ended."""
    return [
        *_asked(state, lease),
        *_granted(lease, cluster),
        *_cluster(lease, cluster),
        *_course(lease, now),
    ]


def explain_waiter(state: State, queued: Queued, now: float) -> list[str]:
    """Return the story of a waiter so far, and what it waits for."""
    waiter = queued.waiter
    out = _asked(state, waiter)
    out.append(f"It was not answered at once: {_lower(waiter.miss.sentence)}")
    place = "next to be served" if queued.position == 1 else f"number {queued.position} in the queue"
    out.append(f"It has waited {span(now - waiter.asked_at)} and is {place}.")
    out.append(f"What it waits for now: {_lower(_sentence(queued.detail or queued.reason.sentence))}")
    if queued.phase not in ("", "queued"):
        out.append(f"The start that it will most likely get has come to: {queued.phase}.")
    if queued.expected_at is None:
        out.append("When a cluster comes free is not known: the pool has not seen enough starts or leases yet.")
    elif queued.expected_at > now:
        out.append(f"Judged from the times seen so far, it is served in about {span(queued.expected_at - now)}.")
    else:
        out.append("Judged from the times seen so far, it is served any moment now.")
    out.append(f"It is given up at {clock(waiter.deadline)} if nothing comes free.")
    return out


def explain_cluster(state: State, cluster: Cluster, now: float) -> list[str]:
    """Return the story of a cluster, living or stopped: started, ready, served, and how it is now."""
    pool = state.pools.get(cluster.pool)
    what = f" ({describe(pool.key.shape)}, image {pool.key.image})" if pool else ""
    out = [
        f"{cluster.id} of tenant {cluster.tenant} was started at {clock(cluster.created_at)} for pool"
        f" {cluster.pool}{what}. Why: {_lower(cluster.cause.sentence)}"
    ]
    if cluster.ready_at is not None:
        ray = f", with Ray {cluster.ray_version}" if cluster.ray_version else ""
        out.append(f"It was ready after {span(cluster.ready_at - cluster.created_at)}{ray}.")
        out.append(f"It has served {cluster.uses} lease{'' if cluster.uses == 1 else 's'}.")
    elif cluster.state is not ClusterState.STARTING:
        out.append("It was never ready.")
    if cluster.state is ClusterState.STOPPED:
        out.append(f"It was gone at {clock(cluster.changed_at)}.")
    else:
        out.append(f"It has been {cluster.state} for {span(now - cluster.changed_at)}.")
    if cluster.phase:
        out.append(f"Its {'start' if cluster.ready_at is None else 'growth'} has come to: {cluster.phase}.")
    out += [_holder(state.leases[lease_id], now) for lease_id in cluster.leases if lease_id in state.leases]
    if cluster.hold_until > now:
        out.append(f"It is held for group {cluster.group} for another {span(cluster.hold_until - now)}.")
    if cluster.group_only and cluster.state is ClusterState.IDLE:
        out.append(f"It is clean for group {cluster.group} alone: anybody else gets it after a full reset.")
    if cluster.resident:
        names = ", ".join(value.name for value in cluster.resident[:5])
        more = f" and {len(cluster.resident) - 5} more" if len(cluster.resident) > 5 else ""
        size_mb = cluster.resident_bytes / 1e6
        out.append(f"It holds {size_mb:,.1f} MB of resident data of group {cluster.group}: {names}{more}.")
    if cluster.wear is not None:
        memory_mb = cluster.wear.head_memory_bytes / 1e6
        files = cluster.wear.open_files
        out.append(
            f"At its last reset Ray's own processes on its head had {memory_mb:,.0f} MB and up to {files} files."
        )
    if cluster.reason is not None:
        out.append(f"Why: {_lower(cluster.reason.sentence)}")
        if cluster.detail and cluster.detail != cluster.reason.sentence:
            out.append(_sentence(cluster.detail))
    if cluster.evidence is not None:
        out += _evidence(cluster.evidence)
    if cluster.state is ClusterState.QUARANTINED and (settings := state.settings(cluster.pool)).standing is None:
        left_s = max(0.0, cluster.changed_at + settings.quarantine_s - now)
        out.append(f"It is kept for a look, and replaced in {span(left_s)}, or when somebody waits for its room.")
    if cluster.state in (ClusterState.STOPPING, ClusterState.STOPPED):
        return out
    if cluster.doom is not None:
        out.append(f"It will be stopped when its lease ends: {_lower(cluster.doomed)}")
    elif cluster.degraded:
        out.append(f"It is granted to nobody new: {_lower(cluster.degraded)}")
    elif cluster.cordoned:
        out.append("It is cordoned: it is granted to nobody new.")
    out += _kept(state, cluster, now)
    if cluster.state is ClusterState.WARM_HEAD:
        out.append("It gets its workers back when somebody asks, which takes less time than a start.")
    if cluster.retires_at and cluster.state in (ClusterState.IDLE, ClusterState.WARM_HEAD, ClusterState.LEASED):
        out.append(_retires(cluster, now))
    return out


def _kept(state: State, cluster: Cluster, now: float) -> list[str]:
    """Return how long a cluster that nobody uses is kept, and why, in the policy's numbers."""
    if cluster.state not in UNUSED or state.settings(cluster.pool).standing is not None:
        return []
    until = max(learning.keep_until(state, cluster, now), cluster.hold_until)
    if until > now and idling.floor_needs(state, cluster, now):
        out = [f"The pool wants so many idle clusters, and keeps it; else it would be stopped in {span(until - now)}."]
    elif until > now:
        out = [f"Unless somebody asks for it, it is stopped in {span(until - now)}."]
    else:
        out = ["It is over its idle time, and kept as long as the pool wants so many idle clusters."]
    wanted = idling.why(state, state.pools[cluster.pool], now)
    numbers = (learning.why(state, cluster), wanted, worth(state, cluster.pool))
    return [*out, *(_sentence(said) for said in numbers if said)]


def _evidence(evidence: Evidence) -> list[str]:
    whose = f" after lease {evidence.lease} of {evidence.holder}" if evidence.lease else ""
    return [
        f"What its reset found{whose}, at {clock(evidence.found_at)}, and could not remove:",
        *(f"- {said}" for said in evidence.left),
    ]


def _holder(lease: Lease, now: float) -> str:
    return f"{lease.holder} has had it for {span(now - lease.granted_at)}, by lease {lease.id}."


def _retires(cluster: Cluster, now: float) -> str:
    if now < cluster.retires_at:
        return f"By its max_lifetime it is replaced in {span(cluster.retires_at - now)}."
    return f"It passed its max_lifetime {span(now - cluster.retires_at)} ago, and is replaced when its lease ends."


def _asked(state: State, record: Lease | Waiter) -> list[str]:
    pool = state.pools.get(record.pool)
    what = f" ({describe(pool.key.shape)}, image {pool.key.image})" if pool else ""
    group = f" for group {record.group}" if record.group else ""
    priority = f" with priority {record.priority}" if record.priority else ""
    out = [
        f"{record.holder} of tenant {record.tenant} asked at {clock(record.asked_at)}{group}{priority} for a cluster"
        f" of pool {record.pool}{what}, with the token {record.caller}."
    ]
    if record.mode in _MODES:
        out.append(_MODES[record.mode])
    return out


def _granted(lease: Lease, cluster: Cluster | None) -> list[str]:
    waited_s = lease.granted_at - lease.asked_at
    if lease.outcome is Outcome.HIT:
        return [f"It was a hit: {lease.cluster} was idle and was granted at once."]
    miss = _lower(lease.miss.sentence) if lease.miss else "no idle cluster was there."
    out = [f"It was a miss: {miss}"]
    if lease.outcome is Outcome.WAITED:
        out.append(f"It waited {span(waited_s)} until {lease.cluster} came free, and was granted it.")
        return out
    if lease.outcome is Outcome.WARM_HEAD:
        grown = cluster.grow_s if cluster is not None else None
        took = f", which took {span(grown)}" if grown is not None else ""
        out.append(f"It waited {span(waited_s)} until {lease.cluster} had its workers back{took}.")
        return out
    started = ""
    if cluster is not None and cluster.ready_at is not None:
        started = f", whose start took {span(cluster.ready_at - cluster.created_at)}"
    out.append(f"It waited {span(waited_s)} for the start of {lease.cluster}{started}.")
    return out


def _cluster(lease: Lease, cluster: Cluster | None) -> list[str]:
    if cluster is None:
        return [f"Nothing is kept any more about {lease.cluster}."]
    before = f" {_ordinal(cluster.uses)} lease" if cluster.state is ClusterState.LEASED else f" {cluster.uses} leases"
    times = f"This is its{before}." if cluster.state is ClusterState.LEASED else f"It served{before}."
    if cluster.uses == 1 and cluster.state is not ClusterState.LEASED:
        times = "It served this lease alone."
    out = [f"{cluster.id} was started at {clock(cluster.created_at)}. Why: {_lower(cluster.cause.sentence)} {times}"]
    if lease.pool != cluster.pool:
        out.append(f"It is of the larger pool {cluster.pool}, which may serve this one.")
    return out


def _course(lease: Lease, now: float) -> list[str]:
    if lease.state is LeaseState.GRANTED:
        return [f"Its holder has not shown itself yet; if it does not, the lease expires at {clock(lease.expires_at)}."]
    if lease.state is LeaseState.ACTIVE:
        most = f" It ends at {clock(lease.max_until)} at the latest." if lease.max_until else ""
        left = span(max(0.0, lease.expires_at - now))
        return [f"It is in use since {span(now - lease.granted_at)} and expires in {left} unless renewed.{most}"]
    ended_at = lease.ended_at if lease.ended_at is not None else lease.granted_at
    held = span(ended_at - lease.granted_at)
    why = lease.end_reason.sentence if lease.end_reason else "The reason is not known."
    out = [f"It ended at {clock(ended_at)}, after {held}. Why: {_lower(why)}"]
    if lease.end_detail and lease.end_detail != why:
        out.append(_sentence(lease.end_detail))
    return out


def span(seconds: float) -> str:
    """Return a length of time as a person would say it: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    seconds = max(0.0, seconds)
    if seconds < 0.0005:
        return "less than a millisecond"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole // 60, "min", whole % 60, "s")
    if whole < 86_400:
        return _two(whole // 3600, "h", whole % 3600 // 60, "min")
    return _two(whole // 86_400, "d", whole % 86_400 // 3600, "h")


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit}" + (f" {small} {small_unit}" if small else "")


def clock(when: float) -> str:
    """Return a time as a person reads it: ``2025-11-23 14:03:11 UTC``."""
    try:
        return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "no set time"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _lower(sentence: str) -> str:
    # "A cluster ..." follows a colon in lower case; a name or an abbreviation stays as it is.
    first = sentence.split(" ", 1)[0]
    return sentence[:1].lower() + sentence[1:] if first.istitle() else sentence


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
