"""The replay: the core's own decisions, in simulated time.

This is not a model of the daemon: `decide`, the policies and the store protocol are what the daemon runs. Simulated are
the clock, holders that release after their job's time, and clusters that start, are reset and stop when `Times` says.
There is no event loop (the daemon's own, in virtual time, is what the tests' whole-system simulation runs): a task for
each start and reset costs more than the decision about it, and a replay makes hundreds of thousands.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from pool.core.decide import Due, decide, due_events
from pool.core.decisions import Answer, Change, Effect, Granted, Grow, Rejected, Reset, Shrink, Start, Stop
from pool.core.events import Acquire, Event, Reconfigure, Release, ResetDone, Shrunk, Started, Stopped
from pool.core.key import ClusterKey
from pool.core.model import Mode
from pool.core.recover import restore
from pool.core.settings import PoolSettings, Rules
from pool.core.state import State
from pool.interpreter import no_collection
from pool.replay.demand import Job, counted_from
from pool.replay.end import expecting_nobody, expects
from pool.replay.figures import Ledger
from pool.replay.order import followers
from pool.replay.times import Times
from pool.store.base import Store

FOREVER_S = math.inf
"""Nothing is due then, so that nobody is told to look."""

AFTER_S = 86_400.0
"""After the last release, a replay goes on until every cluster is gone, or for so long. Nobody is expected any more
then: `reclaim` alone says how long what is idle is still kept (`pool.replay.end`)."""

WEEK_S = 604_800.0

_MODE = Mode.WAIT_OR_CREATE

CHANGES = 1_000
"""After so many changes there is a commit: a daemon that is never idle commits hundreds of events at once."""

TELL_EVERY = 1_000
"""Progress is told after so many jobs."""


class Replay:
    """One run of a trace through the core.

    Args:
        rules: settings and policies. Holders never vanish here: leases that need no renewal save a third of the work.
        store: takes what the decisions change, many of them with one commit, as of a daemon that is never idle.
        times: how long clusters take.
        seed: of the times that are drawn.
        ledger: makes what counts; given, by cluster id, what starts are charged.
        warm_up_s: so much from the beginning of the demand is replayed and not counted, as it was in the past of a
            policy that learns: no job that comes in it, and of clusters only what they do, and which are started,
            after it. The time of a lease or an idle cluster over its end counts from there; a job of it that asks
            later than the trace says, since it comes after others that waited, does not.

    Attributes:
        ledger: what was counted.
        state: the core's, for looking at it.
        refused: how many jobs that count were refused a lease.
    """

    def __init__(
        self,
        rules: Rules,
        store: Store,
        times: Times,
        *,
        seed: int = 0,
        ledger: Callable[[Mapping[str, float]], Ledger] = Ledger,
        warm_up_s: float = 0.0,
    ) -> None:
        self._rules = replace(rules, settings_for=undisturbed(rules.settings_for, times.reset_s))
        self._store = store
        self._times = times
        self._rng = random.Random(seed)  # noqa: S311 a simulation, not a secret
        self._charged_s: dict[str, float] = {}
        self._warm_up_s = warm_up_s
        self.ledger = ledger(self._charged_s)
        self.refused = 0
        self.state = State(self._rules)
        # What clusters and holders will do, by when, and what they do at once.
        self._coming: list[tuple[float, int, Event]] = []
        self._at_once: list[Event] = []
        self._now = 0.0
        self._changes: list[Change] = []
        self._order = count()
        self._jobs: dict[str, Job] = {}
        # When the last of those ends, or asks, that are known so far.
        self._ends_s = 0.0
        self._over = False
        # Of jobs that come after others: which those are that have not ended yet, and when the last one did.
        self._after: dict[int, set[int]] = {}
        self._then: defaultdict[int, list[int]] = defaultdict(list)
        self._last_s: dict[int, float] = {}
        self._lag_s: dict[int, float] = {}
        self._asked: Sequence[Job] = ()

    def want(self, floors: Mapping[str, int], at_s: float) -> None:
        """Have schedule windows open or close.

        Args:
            floors: `min_idle` by configured pool name from the windows that are open from then on.
            at_s: when, in the time of the jobs, which must be later than a week after the epoch.
        """
        self._later(at_s, Reconfigure(replace(self._rules, floors=floors)))

    def run(self, jobs: Sequence[Job], tell: Callable[[int], None] = lambda done: None) -> None:
        """Replay jobs, first come first.

        Args:
            jobs: by arrival.
            tell: called with how many have arrived.
        """
        # To the core a time of 0 means never. Whole weeks leave a trace its hours and weekdays.
        weeks_s = WEEK_S * max(0, math.ceil((WEEK_S - jobs[0].arrival_s) / WEEK_S))
        shifted = [job._replace(arrival_s=job.arrival_s + weeks_s) for job in jobs] if weeks_s else jobs
        began_s = shifted[0].arrival_s
        since_s = counted_from(jobs, self._warm_up_s)
        left_out = bisect_left(jobs, since_s, key=lambda job: job.arrival_s)
        self.ledger.leave_out(since_s + weeks_s, frozenset(f"l-{n}" for n in range(left_out)))
        loaded = _now(self._store.open(began_s))
        self.state = restore(self._rules, began_s, generation=loaded.generation, pools=loaded.pools)
        if not self._times.charged:
            # Who waited for a start ends later, and so does all that comes after it.
            for n, (after, lag_s) in followers(shifted).items():
                self._after[n], self._lag_s[n] = set(after), lag_s
                for one in after:
                    self._then[one].append(n)
        self._asked = shifted
        with no_collection():
            self._run(shifted, tell)

    def _run(self, jobs: Sequence[Job], tell: Callable[[int], None]) -> None:
        state, coming = self.state, self._coming
        next_job, now = 0, jobs[0].arrival_s
        while True:
            arrival_s = jobs[next_job].arrival_s if next_job < len(jobs) else FOREVER_S
            then = min(arrival_s, coming[0][0] if coming else FOREVER_S, state.timers.next_due())
            nothing_left = not (state.clusters or self._jobs or self._after)
            if next_job == len(jobs) and (nothing_left or then > self._ends_s + AFTER_S):
                break
            self._now = now = max(now, then)
            # What clusters and holders do comes before who arrives at the same time, and that before what is due: a
            # job that comes as a cluster's time ends still finds it.
            self._settle(now)
            if arrival_s <= now:
                asked: list[Event] = []
                while next_job < len(jobs) and jobs[next_job].arrival_s <= now:
                    if next_job not in self._after and next_job not in self._last_s:
                        asked.append(self._ask(next_job, jobs[next_job], now))
                    next_job += 1
                    if next_job % TELL_EVERY == 0:
                        tell(next_job)
                self._decide(asked, now)
                self._settle(now)
            while state.timers.next_due() <= now:
                self._decide(due_events(state, now), now)
                self._settle(now)
            if next_job == len(jobs) and not self._jobs and now >= self._ends_s and not self._over:
                self._nobody_comes(now)
            if len(self._changes) >= CHANGES:
                self._commit()
        self._commit()
        self.ledger.close(state.clusters, now)
        tell(next_job)

    def _nobody_comes(self, now: float) -> None:
        """Have nothing stand ready any more: the last job has ended. What is due of it is so at once."""
        self._over = True
        rules = self.state.rules
        self._coming[:] = [coming for coming in self._coming if type(coming[-1]) is not Reconfigure]
        heapq.heapify(self._coming)
        # Where `reclaim` alone keeps clusters nothing changes, and they are looked at when it says.
        if expects(rules, (pool.key for pool in self.state.pools.values())):
            self._decide([Reconfigure(expecting_nobody(rules))], now)
            self._settle(now)

    def _ask(self, n: int, job: Job, at_s: float) -> Acquire:
        lease_id = f"l-{n}"
        self._jobs[lease_id] = job
        self._ends_s = max(self._ends_s, at_s)
        return Acquire(
            lease_id, "replay", lease_id, job.key, lease_id, job.group, _MODE, FOREVER_S, FOREVER_S, told=False
        )

    def _settle(self, now: float) -> None:
        """Let happen what clusters and holders do now, and what follows from it at once."""
        coming = self._coming
        while self._at_once or (coming and coming[0][0] <= now):
            events: list[Event | Due] = []
            while coming and coming[0][0] <= now:
                events.append(heapq.heappop(coming)[2])
            events += self._at_once
            self._at_once.clear()
            self._decide(events, now)

    def _decide(self, events: Sequence[Event | Due], now: float) -> None:
        """Decide, and have happen what follows. What changed is committed later (`_commit`)."""
        state = self.state
        for decision in [decide(state, event, now) for event in events]:
            self._changes += decision.changes
            self.ledger.observe(decision)
            reply = decision.reply
            if type(reply) is Granted:
                self._holds(reply, now)
            elif type(reply) is Rejected and isinstance(decision.event, Acquire):
                self._refused(decision.event.lease_id, now)
            for effect in decision.effects:
                if type(effect) is not Answer:
                    self._act(effect, now)
                elif isinstance(effect.reply, Rejected):
                    self._refused(effect.lease_id, now)
                elif reply is not effect.reply:
                    self._holds(effect.reply, now)

    def _commit(self) -> None:
        """Commit what has queued up, as the daemon does."""
        if self._changes:
            _now(self._store.commit(self._changes))
            self._changes = []

    def _holds(self, granted: Granted, now: float) -> None:
        lease = granted.lease
        ends_s = now + self._jobs.pop(lease.id).duration_s
        self._ends_s = max(self._ends_s, ends_s)
        self._later(ends_s, Release(lease.id, lease.epoch))
        self._ends(int(lease.id.removeprefix("l-")), ends_s)

    def _refused(self, lease_id: str, now: float) -> None:
        self.refused += lease_id not in self.ledger.left_out
        del self._jobs[lease_id]
        self._ends(int(lease_id.removeprefix("l-")), now)

    def _ends(self, n: int, at_s: float) -> None:
        """Have those come that come after a job, once all are known to end that they come after."""
        for one in self._then.pop(n, ()) if self._then else ():
            self._last_s[one] = max(self._last_s.get(one, 0.0), at_s)
            self._after[one].discard(n)
            if not self._after[one]:
                del self._after[one]
                asks_s = self._last_s[one] + self._lag_s[one]
                self._later(asks_s, self._ask(one, self._asked[one], asks_s))

    def _act(self, effect: Effect, now: float) -> None:
        times = self._times
        # Not `Start | Grow`: that is made anew each time.
        if isinstance(effect, (Start, Grow)):
            id_ = effect.cluster.id
            start_s = times.draw(self._rng)
            took_s = None
            if times.charged:
                self._charged_s[id_] = took_s = start_s
                start_s = 0.0
            self._later(now + start_s, Started(id_, f"boot-{id_}", f"{id_}.invalid:6379", took_s=took_s))
        elif isinstance(effect, Reset):
            self._later(now + times.reset_s, ResetDone(effect.cluster.id, effect.epoch, True, full=effect.full))
        elif isinstance(effect, Stop):
            self._later(now + times.stop_s, Stopped(effect.cluster_id))
        elif isinstance(effect, Shrink):
            self._later(now + times.stop_s, Shrunk(effect.cluster.id))

    def _later(self, at: float, event: Event) -> None:
        if at <= self._now:
            # After all that was to come at this time: most starts, resets and stops take no time.
            self._at_once.append(event)
        else:
            heapq.heappush(self._coming, (at, next(self._order), event))


def undisturbed(
    settings_for: Callable[[ClusterKey], PoolSettings], reset_s: float = 0.0
) -> Callable[[ClusterKey], PoolSettings]:
    """Return settings under which nobody is looked after who cannot fail here.

    Holders neither vanish nor have to renew, starts and resets end, and resets that take `reset_s` are slow or not:
    without the looks at them a replay decides half as much.
    """
    known: dict[str, PoolSettings] = {}

    def undisturbed(key: ClusterKey) -> PoolSettings:
        found = known.get(key.digest)
        if found is None:
            settings = settings_for(key)
            found = known[key.digest] = replace(
                settings,
                lease_ttl_s=FOREVER_S,
                pickup_s=FOREVER_S,
                start_timeout_s=FOREVER_S,
                reset_timeout_s=FOREVER_S,
                reset_wait_s=FOREVER_S if reset_s < settings.reset_wait_s else settings.reset_wait_s,
            )
        return found

    return undisturbed


def _now(call: Coroutine[Any, Any, Any]) -> Any:
    """Return what a call of the store in memory returns: it waits for nothing, so it needs no event loop."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the store waits, which one in memory does not")
