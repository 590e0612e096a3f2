"""A target instead of prices, as the configuration says it, and what is wrong with some."""

from __future__ import annotations

import pytest

from policies.auto import Auto
from policies.newsvendor import Newsvendor
from policies.reclaim import FixedTTL, NeverKeep
from pool.config import build_rules, load_text
from pool.core.policy import Reclaim, Sizing
from tests.config.test_messages import problems
from tests.kit import KEY


def reclaim(text: str) -> Reclaim:
    return build_rules(load_text(text, "test.yaml"), {}).settings_for(KEY).reclaim


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("defaults: {target: {hits: 99%}}", Auto(hits=0.99)),
        ("defaults: {target: {hits: 0.95}}", Auto(hits=0.95)),
        ("pools: [{name: default, target: {wait_p95: 20s}}]", Auto(wait_p95_s=20.0)),
        (
            "defaults: {target: {hits: 99%}, reclaim: {type: auto, half_life: 1d}}",
            Auto(half_life_s=86_400.0, hits=0.99),
        ),
        ("defaults: {target: {hits: 99%}, idle_cost_per_hour: {cpu: 1}}", Auto(hits=0.99)),
    ],
)
def test_a_target_is_what_auto_is_to_reach(text: str, policy: Auto) -> None:
    assert reclaim(text) == policy


@pytest.mark.parametrize(
    ("text", "sizing", "policy"),
    [
        ("defaults: {target: {hits: 99%}, sizing: newsvendor}", Newsvendor(hits=0.99), Auto()),
        ("defaults: {target: {wait_p95: 20s}, sizing: newsvendor}", Newsvendor(wait_p95_s=20.0), Auto()),
        ("defaults: {sizing: {type: newsvendor, hits: 0.99}, reclaim: never_keep}", Newsvendor(hits=0.99), NeverKeep()),
        ("defaults: {sizing: {type: newsvendor, hits: 99%}, reclaim: never_keep}", Newsvendor(hits=0.99), NeverKeep()),
        (
            "defaults: {target: {hits: 99%}, sizing: newsvendor, reclaim: never_keep}",
            Newsvendor(hits=0.99),
            NeverKeep(),
        ),
        (
            "defaults: {target: {hits: 99%}, sizing: newsvendor}\npools: [{name: default, reclaim: never_keep}]",
            Newsvendor(hits=0.99),
            NeverKeep(),
        ),
        (
            "defaults: {sizing: newsvendor, reclaim: never_keep}\npools: [{name: default, target: {hits: 99%}}]",
            Newsvendor(hits=0.99),
            NeverKeep(),
        ),
        (
            "defaults: {target: {hits: 99%}, sizing: {type: newsvendor, break_even: 1h}}",
            Newsvendor(break_even_s=3_600.0),
            Auto(hits=0.99),
        ),
    ],
)
def test_a_sizing_that_has_a_price_follows_it_before_what_is_kept(text: str, sizing: Sizing, policy: Reclaim) -> None:
    settings = build_rules(load_text(text, "test.yaml"), {}).settings_for(KEY)
    assert settings.sizing == sizing
    assert settings.reclaim == policy


@pytest.mark.parametrize(
    ("defaults", "pool", "policy"),
    [
        ("waiting_cost_per_hour: 5, idle_cost_per_hour: {cpu: 1}", "target: {hits: 90%}", Auto(hits=0.9)),
        ("idle_ttl: 5m", "target: {hits: 90%}", Auto(hits=0.9)),
        ("reclaim: never_keep", "target: {hits: 90%}", Auto(hits=0.9)),
        ("target: {hits: 90%}", "idle_ttl: 5m, idle_jitter: 0", FixedTTL(300.0, 0.0)),
        ("target: {hits: 90%}", "reclaim: auto", Auto(hits=0.9)),
        ("target: {hits: 90%}", "reclaim: {type: auto, break_even: 5m}", Auto(break_even_s=300.0)),
        ("target: {hits: 90%}", "target: {wait_p95: 9s}", Auto(wait_p95_s=9.0)),
    ],
)
def test_what_a_pool_says_itself_takes_the_place_of_what_the_defaults_say(
    defaults: str, pool: str, policy: Reclaim
) -> None:
    assert reclaim(f"defaults: {{{defaults}}}\npools: [{{name: default, {pool}}}]") == policy


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("target: {}", "defaults.target: does not say what to reach; give hits, such as 99%, or wait_p95, such as 20s"),
        ("target: {hits: 99%, wait_p95: 20s}", "defaults.target: gives both hits and wait_p95; give one of them"),
        ("target: {hits: 99s}", "defaults.target.hits: '99s' is not a share; write one such as 99%"),
        ("target: {hits: 100%}", "defaults.target.hits: '100%' is out of range; a share to reach is more than 0% and"),
        ("target: {hits: 99}", "defaults.target.hits: 99 is out of range; a share to reach is more than 0% and less"),
        ("target: {hits: 0%}", "defaults.target.hits: '0%' is out of range; a share"),
        ("target: {wait_p95: 95%}", "defaults.target.wait_p95: '95%' is not a duration; write seconds, or a number"),
        (
            "target: {wait_p95: 0}",
            "defaults.target: wait_p95 is 0; give a time to wait such as 20s, or hits such as 95%",
        ),
        ("target: {wait_p99: 1s}", "defaults.target.wait_p99: unknown setting; did you mean wait_p95?"),
        (
            "target: {hits: 99%}, waiting_cost_per_hour: 60",
            "defaults: gives both target and waiting_cost_per_hour, which say the same; give one of them",
        ),
        (
            "target: {hits: 99%}, reclaim: fixed_ttl",
            "defaults: gives both target and reclaim: fixed_ttl; only reclaim: auto or sizing: newsvendor follows a",
        ),
        (
            "target: {hits: 99%}, idle_ttl: 5m",
            "defaults: gives both target and idle_ttl; only reclaim: auto or sizing: newsvendor",
        ),
        (
            "target: {hits: 99%}, reclaim: {type: auto, break_even: 5m}",
            "defaults: gives both target and break_even of reclaim, which say the same; give one of them",
        ),
        (
            "target: {hits: 99%}, sizing: {type: newsvendor, hits: 90%}",
            "defaults: gives both target and hits of sizing, which say the same; give one of them",
        ),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_to_do(inside: str, said: str) -> None:
    (found,) = problems(f"defaults: {{{inside}}}\n")
    assert said in found
