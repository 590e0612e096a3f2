"""The benchmark of drawn workflows runs, counts one replay twice, and knows what who knows the rates needs."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest

from benchmarks import workflows
from benchmarks.rates import Burst, Rates, begun, bursts, expected_hits, extras, served
from pool.config import build_rules, load_text
from pool.replay import Job, Replay
from pool.replay.compare import side
from pool.replay.workflows import Demand, generate, known
from pool.store.memory import MemoryStore

TINY = Demand(workflows=4, executions_per_day=60.0, days=1.0, images=1, shapes=2)


def test_it_prints_its_tables_and_keeps_nothing_of_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    workflows.main(["--seeds", "3", "--days", "1", "--jobs", "1"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "seed 3 is done, 1 of 1"
    assert sum(line.startswith("| 3 | of ") for line in lines) == 4
    figures = json.loads(last)
    assert figures["seeds"] == 1
    assert len(figures) == 1 + 4 * len(workflows.POLICIES)
    assert "commit" not in figures


def test_one_replay_is_counted_whole_and_after_its_warm_up() -> None:
    jobs, warm_up_s = generate(TINY, 1), workflows.half(TINY)
    found = workflows.replayed(workflows.ahead("break_even: 12h"), jobs, 1, warm_up_s)
    for span, of_s in zip(workflows.SPANS, (0.0, warm_up_s), strict=True):
        rules = build_rules(load_text(workflows.ahead("break_even: 12h"), "test"), {})
        replay = Replay(rules, MemoryStore(keeps_books=False), workflows.TIMES, seed=1, warm_up_s=of_s)
        replay.run(jobs)
        keys = {job.key.digest: job.key for job in jobs}
        total = side(replay.ledger.pools, keys, lambda key: workflows.CORES, 0.0, 0).total
        assert found[span]["leases"] == total.leases
        assert found[span]["idle_h"] == round(total.idle_s / 3600, 1)
        assert found[span]["core_h"] == round(total.cost, 1)


def test_the_shortest_fixed_time_is_the_least_that_finds_enough() -> None:
    rates = {"whole": lambda h: 0.5 + h / 25, "second half": lambda h: 0.0}
    found = workflows.shortest(lambda h: {span: {"hit_rate": rate(h)} for span, rate in rates.items()})
    assert found["whole"] == {"ttl_h": 10, "hit_rate": 0.9}
    assert found["second half"] == {"ttl_h": workflows.LONGEST_H, "hit_rate": 0.0}


def test_larger_clusters_serve_smaller_requests() -> None:
    assert served({1: 1, 4: 2}, {1: 5, 2: 1}) == 3
    assert served({1: 3}, {2: 3}) == 0
    assert served({}, {1: 1}) == served({1: 1}, {}) == 0


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("by_size", [False, True])
def test_the_idle_clusters_of_who_knows_the_rates_are_the_best_of_all(seed: int, by_size: bool) -> None:
    def price(size: int) -> float:
        return size / 1000 if by_size else 1.0

    for begins in begun(known(TINY, seed)).values():
        sizes = sorted({size for _, asked in begins for size in asked})
        standing: Counter[int] = Counter()
        for extra in itertools.islice(extras(begins, TINY.burst, price), 5):
            standing[extra.milli_cpu] += 1
            paid = sum(price(size) * n for size, n in standing.items())
            best = max(
                expected_hits(Counter(chosen), begins, TINY.burst)
                for n in range(10)
                for chosen in itertools.combinations_with_replacement(sizes, n)
                if sum(map(price, chosen)) <= paid
            )
            # What is worth most for its price is the best there is for one shape; for two, what is left of a price may
            # just not do for the larger one.
            least = best if len(sizes) == 1 or not by_size else 0.9 * best
            assert least - 1e-9 <= expected_hits(standing, begins, TINY.burst) <= best + 1e-9


def test_with_the_least_worth_the_wanted_share_is_found_and_with_less_it_is_not() -> None:
    jobs = generate(TINY, 2)
    rates = Rates(TINY, 2, lambda size: 1.0)
    found = rates.needs(jobs, 0.0, 52.0, 0.99)
    asked = bursts(jobs, 0.0, 52.0)

    def share(worth_h: float) -> float:
        """Return the share of hits, reckoned burst by burst."""
        missed = 0
        for family, of in asked.items():
            for burst in of:
                missed += burst.asked.total() - served(rates.stands(family, burst.hour, worth_h), burst.asked)  # type: ignore[attr-defined]
        return 1.0 - missed / len(jobs)

    assert found.hit_rate == share(found.worth_h) >= 0.99 > share(0.999 * found.worth_h)
    stand = [rates.stands(family, hour, found.worth_h).total() for family in asked for hour in range(24)]
    assert found.idle_h == sum(stand)


def test_what_asks_within_a_start_is_one_burst_and_later_tasks_are_none() -> None:
    key = known(TINY, 1)[0][0].stages[0][0].key
    size, family = key.shape.head.milli_cpu, (key.tenant, key.image)
    at = [(0.0, "a"), (30.0, "b"), (51.0, "c"), (52.0, "d"), (60.0, "a"), (7_200.0, "e")]
    jobs = [Job(at_s, 5.0, key, group) for at_s, group in at]
    assert bursts(jobs, 0.0, 52.0) == {family: [Burst(0, {size: 3}), Burst(0, {size: 1}), Burst(2, {size: 1})]}
    assert bursts(jobs, 55.0, 52.0) == {family: [Burst(2, {size: 1})]}
