"""Why things happened: the one list of reason codes, used in the API, metrics, logs and history.

Every miss, rejection, end of a lease, stop, failed start and quarantine carries one of these. A code is a
promise: dashboards and alerts match on it, so codes are added and never renamed.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A reason code. ``Reason.X.sentence`` says it in words."""

    # Why an acquire was not answered by an idle cluster (a miss).
    NO_CLUSTER = "no_cluster"
    ALL_LEASED = "all_leased"
    ALL_HELD = "all_held"
    ALL_RESETTING = "all_resetting"
    ALL_CORDONED = "all_cordoned"
    ALL_DEGRADED = "all_degraded"
    WORKERS_LET_GO = "workers_let_go"
    ALL_QUARANTINED = "all_quarantined"
    NONE_REACHED = "none_reached"
    STARTING = "starting"
    GROWING = "growing"
    RELEASE_EXPECTED = "release_expected"
    LOCALITY_WAIT = "locality_wait"
    BEHIND_OTHERS = "behind_others"
    MAX_STARTING = "max_starting"
    POOL_CEILING = "pool_ceiling"
    TENANT_CEILING = "tenant_ceiling"
    DAEMON_CEILING = "daemon_ceiling"
    START_BACKOFF = "start_backoff"
    BREAKER_OPEN = "breaker_open"
    WAIT_ONLY = "wait_only"

    # Why an acquire, a renewal, a release or an operator's request was refused.
    WARM_ONLY_MISS = "warm_only_miss"
    WAIT_TIMEOUT = "wait_timeout"
    QUEUE_FULL = "queue_full"
    SHAPE_TOO_LARGE = "shape_too_large"
    INVALID_KEY = "invalid_key"
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_PATH = "unknown_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    UNAUTHENTICATED = "unauthenticated"
    NOT_READY = "not_ready"
    STANDING_BY = "standing_by"
    REQUEST_ENDED = "request_ended"
    REQUEST_MISMATCH = "request_mismatch"
    CANCELLED = "cancelled"
    POOL_CORDONED = "pool_cordoned"
    WAITER_GONE = "waiter_gone"
    UNKNOWN_LEASE = "unknown_lease"
    UNKNOWN_CLUSTER = "unknown_cluster"
    UNKNOWN_POOL = "unknown_pool"
    WRONG_TOKEN = "wrong_token"
    STALE_EPOCH = "stale_epoch"
    LEASE_ENDED = "lease_ended"
    NOT_ALLOWED = "not_allowed"
    CONFLICT = "conflict"
    NESTED_DEADLOCK = "nested_deadlock"
    STORE_FAILED = "store_failed"
    INTERNAL = "internal"

    # Why a lease ended.
    RELEASED = "released"
    EXPIRED = "expired"
    UNCLAIMED = "unclaimed"
    UNDELIVERED = "undelivered"
    REVOKED = "revoked"
    MAX_LEASE = "max_lease"
    CLUSTER_LOST = "cluster_lost"

    # Why a start failed.
    START_FAILED = "start_failed"
    START_TIMEOUT = "start_timeout"
    NO_CAPACITY = "no_capacity"
    OPEN_CLUSTER = "open_cluster"

    # Why an idle cluster let its workers go, or did not.
    WORKERS_IDLE_TTL = "workers_idle_ttl"
    WORKERS_HOLD_OBJECTS = "workers_hold_objects"

    # Why a cluster was stopped, quarantined or replaced.
    IDLE_TTL = "idle_ttl"
    SURPLUS = "surplus"
    MAX_USES = "max_uses"
    MAX_LIFETIME = "max_lifetime"
    HEAD_MEMORY = "head_memory"
    OPEN_FILES = "open_files"
    STORE_LEFT = "store_left"
    EVICTED = "evicted"
    DRAINED = "drained"
    NEVER_KEPT = "never_kept"
    HOLDER_NOT_GONE = "holder_not_gone"
    RESET_FAILED = "reset_failed"
    SHRINK_FAILED = "shrink_failed"
    QUARANTINE_OVER = "quarantine_over"
    HEAD_REPLACED = "head_replaced"
    PROCESS_GONE = "process_gone"
    UNHEALTHY = "unhealthy"
    DEGRADED = "degraded"
    EDITED = "edited"
    REMOVED = "removed"
    ORPHAN = "orphan"
    SHUTDOWN = "shutdown"

    # Why a cluster was started.
    MISS = "miss"
    PREWARM = "prewarm"
    FLOOR = "floor"
    BUFFER = "buffer"
    DEMAND = "demand"
    STANDING = "standing"
    FORECAST = "forecast"
    LOOK_AHEAD = "look_ahead"

    @property
    def sentence(self) -> str:
        """The reason in one sentence, for people."""
        return _SENTENCES[self]


START_FAILURES = (Reason.START_FAILED, Reason.START_TIMEOUT, Reason.NO_CAPACITY, Reason.OPEN_CLUSTER)
"""Why a start failed, as metrics announce it."""

_SENTENCES: dict[Reason, str] = {
    Reason.NO_CLUSTER: "The pool has no cluster yet.",
    Reason.ALL_LEASED: "Every warm cluster of the pool is leased.",
    Reason.ALL_HELD: "Every idle cluster of the pool is held for another group.",
    Reason.ALL_RESETTING: "Every cluster of the pool is leased or being reset.",
    Reason.ALL_CORDONED: "Every idle cluster of the pool is cordoned.",
    Reason.ALL_DEGRADED: "Every idle cluster of the pool misses workers.",
    Reason.WORKERS_LET_GO: "The pool's idle cluster has let its workers go, and gets them back first.",
    Reason.ALL_QUARANTINED: "Every cluster that could serve is quarantined.",
    Reason.NONE_REACHED: "None of the clusters that the configuration names and that could serve is reached now.",
    Reason.STARTING: "A cluster of the pool is starting.",
    Reason.GROWING: "A cluster of the pool is getting its workers back.",
    Reason.RELEASE_EXPECTED: "A lease of the pool is expected to end before a new cluster could start.",
    Reason.LOCALITY_WAIT: "The group's own cluster, with its data or just released, is waited for, for a bounded time.",
    Reason.BEHIND_OTHERS: "Waiters with a better rank are served first.",
    Reason.MAX_STARTING: "As many clusters are starting as the daemon allows at once.",
    Reason.POOL_CEILING: "The pool is at its ceiling.",
    Reason.TENANT_CEILING: "The tenant is at its ceiling.",
    Reason.DAEMON_CEILING: "The daemon is at its ceiling.",
    Reason.START_BACKOFF: "The last start failed and the next try has not come yet.",
    Reason.BREAKER_OPEN: "Starts of the pool failed repeatedly and are paused.",
    Reason.WAIT_ONLY: "The acquire waits for a release and asked that no cluster be started for it.",
    Reason.WARM_ONLY_MISS: "No idle cluster was there, and the acquire asked for a warm one only.",
    Reason.WAIT_TIMEOUT: "No cluster came free within the time the acquire was willing to wait.",
    Reason.QUEUE_FULL: "The pool's queue is full.",
    Reason.SHAPE_TOO_LARGE: "A cluster of this shape can never fit.",
    Reason.INVALID_KEY: "The cluster key is not valid.",
    Reason.INVALID_REQUEST: "The request is not valid.",
    Reason.UNKNOWN_PATH: "The API has no such path.",
    Reason.METHOD_NOT_ALLOWED: "The path does not know this method.",
    Reason.BODY_TOO_LARGE: "The request's body is too large.",
    Reason.UNAUTHENTICATED: "The request has no valid bearer token.",
    Reason.NOT_READY: "The daemon is not ready.",
    Reason.STANDING_BY: "The daemon stands by for the writer.",
    Reason.REQUEST_ENDED: "The lease of this request id has ended; a request id never grants again.",
    Reason.REQUEST_MISMATCH: "The request id was used before with another cluster key or holder.",
    Reason.CANCELLED: "The acquire was cancelled.",
    Reason.POOL_CORDONED: "The pool is cordoned: it grants nothing until it is uncordoned.",
    Reason.WAITER_GONE: "The waiter stopped asking.",
    Reason.UNKNOWN_LEASE: "There is no such lease.",
    Reason.UNKNOWN_CLUSTER: "There is no such cluster.",
    Reason.UNKNOWN_POOL: "There is no such pool.",
    Reason.WRONG_TOKEN: "The token is not this lease's.",
    Reason.STALE_EPOCH: "The epoch is not this lease's.",
    Reason.LEASE_ENDED: "The lease has ended.",
    Reason.NOT_ALLOWED: "The caller's role or tenants do not allow this.",
    Reason.CONFLICT: "The state of the thing does not allow this.",
    Reason.NESTED_DEADLOCK: "A task that holds a lease would wait for itself.",
    Reason.STORE_FAILED: "The store could not commit this.",
    Reason.INTERNAL: "The daemon met an error of its own.",
    Reason.RELEASED: "The holder released the lease.",
    Reason.EXPIRED: "The holder stopped renewing.",
    Reason.UNCLAIMED: "Nobody picked the grant up.",
    Reason.UNDELIVERED: "The holder went away before the grant could be delivered.",
    Reason.REVOKED: "An operator revoked the lease.",
    Reason.MAX_LEASE: "The lease reached the longest time its pool allows.",
    Reason.CLUSTER_LOST: "The cluster was lost.",
    Reason.START_FAILED: "The cluster could not be started.",
    Reason.START_TIMEOUT: "The cluster was not ready in time.",
    Reason.NO_CAPACITY: "The backend has no room for the cluster.",
    Reason.OPEN_CLUSTER: "The cluster answered a call without its token.",
    Reason.WORKERS_IDLE_TTL: "The cluster was idle longer than its pool keeps the workers of one.",
    Reason.WORKERS_HOLD_OBJECTS: "The cluster's workers hold objects that would be lost with them.",
    Reason.IDLE_TTL: "The cluster was idle longer than its pool keeps one.",
    Reason.SURPLUS: "The pool has more idle clusters than its settings allow.",
    Reason.MAX_USES: "The cluster served as many leases as its pool allows.",
    Reason.MAX_LIFETIME: "The cluster is older than its pool allows.",
    Reason.HEAD_MEMORY: "Ray's own processes on the cluster's head take more memory than its pool allows.",
    Reason.OPEN_FILES: "One of Ray's own processes on the cluster's head has more files open than its pool allows.",
    Reason.STORE_LEFT: "The cluster's object stores stay in use though nobody is left who owns anything there.",
    Reason.EVICTED: "The room was needed for a waiter of another key.",
    Reason.DRAINED: "An operator drained the cluster.",
    Reason.NEVER_KEPT: "The pool's policy keeps no cluster after its lease.",
    Reason.HOLDER_NOT_GONE: "The lease ended without its holder being seen gone.",
    Reason.RESET_FAILED: "The cluster could not be proven clean.",
    Reason.SHRINK_FAILED: "The cluster could not let its workers go.",
    Reason.QUARANTINE_OVER: "The quarantine's time is over.",
    Reason.HEAD_REPLACED: "The head was replaced by an empty one.",
    Reason.PROCESS_GONE: "The cluster's processes are gone.",
    Reason.UNHEALTHY: "The cluster did not answer its health probes.",
    Reason.DEGRADED: "The cluster missed workers for longer than a start may take.",
    Reason.EDITED: "Somebody changed the cluster: it is not what its key says any more.",
    Reason.REMOVED: "The configuration no longer names the cluster, or names another one in its place.",
    Reason.ORPHAN: "The store knows no such cluster.",
    Reason.SHUTDOWN: "The daemon was asked to stop its clusters.",
    Reason.MISS: "A waiter needed it.",
    Reason.PREWARM: "An operator asked for it.",
    Reason.FLOOR: "The pool keeps a least number of idle clusters.",
    Reason.STANDING: "The configuration names it: somebody else runs it.",
    Reason.BUFFER: "The pool keeps spare idle clusters beside the leased ones.",
    Reason.DEMAND: "By the demand that was seen, the pool needs so many idle clusters.",
    Reason.FORECAST: "The pool is expected to be used then, by the rhythm of its uses before.",
    Reason.LOOK_AHEAD: "A workflow is expected to ask for it next, as it did before.",
}
