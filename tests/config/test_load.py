"""What a configuration means once it is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.auto import Auto
from policies.grant_order import LeastRecentlyUsed, MostRecentlyUsed
from policies.reclaim import FixedTTL, NeverKeep
from policies.sizing import FloorAndBuffer
from pool.config import build_rules, load, load_text, windows_of
from pool.config.model import default_state_dir
from pool.config.values import duration_text, seconds
from pool.core.key import ClusterKey, key_from
from pool.core.settings import Ceiling, PoolSettings, Prices, Rules


def rules(text: str) -> Rules:
    return build_rules(load_text(text, "warmpool.yaml"), {})


def key(image: str = "local", tenant: str = "p/d", **head: object) -> ClusterKey:
    return key_from({"image": image, "tenant": tenant, "shape": {"head": head}})


def name_of(text: str, asked: ClusterKey) -> str:
    return rules(text).settings_for(asked).name


def test_without_a_file_there_is_one_pool_with_sane_defaults() -> None:
    settings = build_rules(load(None), {}).settings_for(key())
    assert settings.name == "default"
    assert settings.reclaim == Auto()
    assert settings.sizing == FloorAndBuffer(0, 0)
    assert settings.grant_order == MostRecentlyUsed()
    assert (settings.max_uses, settings.max_lifetime_s) == (200, 86_400.0)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing yet\n")
    assert load(tmp_path / "c.yaml") == load(None)


def test_every_setting_of_the_core_can_be_set() -> None:
    text = """
    pools:
      - name: all
        idle_ttl: 1m
        idle_jitter: 0
        min_idle: 1
        buffer: 2
        grant_order: least_recently_used
        queue_order: {type: priority_with_aging}
        ceiling: {clusters: 9, cpu: 500m, memory: 2Gi, gpu: 3}
        prewarm: next_use
        look_ahead: {type: just_in_time, break_even: 10m}
        lease_ttl: 11
        max_lease: 12
        pickup: 13
        max_wait: 14
        max_waiting: 15
        wait_target: 16s
        queue_target: 17
        aging: 16
        hold: 17
        hold_max: 18
        group_rest: 18.5
        hold_yield: 19
        locality_wait: 20
        max_uses: 21
        resident_share: 0.42
        max_lifetime: 22
        lifetime_jitter: 0.23
        max_head_memory: 231
        max_open_files: 232
        max_store_left: 233
        start_timeout: 24
        reset_timeout: 25
        reset_wait: 25.5
        backoff: 26
        backoff_max: 27
        breaker_failures: 28
        breaker_open: 29
        quarantine: 30
        max_leases_per_cluster: 31
        serve_larger: true
        floor_for: 32
        idle_cost_per_hour: {cpu: 0.5, gpu: 33}
        waiting_cost_per_hour: 34
        key: {image: local, tenant: p/d}
    """
    found = rules(text)
    set_to = found.settings_for(key())
    assert set_to.ceiling == Ceiling(9, 500, 2 * 2**30, 3)
    assert set_to.prices == Prices(cpu=0.5, gpu=33.0, waiting=34.0)
    assert found.pinned == (key(),)
    default = build_rules(load(None), {}).settings_for(key())
    assert rules("defaults: {target: {hits: 99%}}").settings_for(key()).reclaim == Auto(hits=0.99)
    same = [
        f.name
        for f in dataclasses.fields(PoolSettings)
        # Which clusters stand already is no setting of a pool's.
        if f.name not in ("queue_order", "standing") and getattr(set_to, f.name) == getattr(default, f.name)
    ]
    assert not same, "these were not taken over"


def test_the_first_pool_that_matches_is_the_keys_pool() -> None:
    text = """
    pools:
      - {name: gpu, match: {shape: {gpu: ">0"}}}
      - {name: team, match: {tenant: ["ml-*/production", "vision/*"]}}
      - {name: images, match: {image: "*/trainer:*", shape: {cpu: ">= 500m", memory: "<=4Gi"}}}
    """
    assert name_of(text, key(tenant="ml-x/production", gpu=1)) == "gpu"
    assert name_of(text, key(tenant="ml-x/production")) == "team"
    assert name_of(text, key(tenant="vision/dev")) == "team"
    assert name_of(text, key(tenant="ml-x/dev")) == "default"
    assert name_of(text, key("r.io/a/trainer:1", cpu="500m", memory="4Gi")) == "images"
    assert name_of(text, key("r.io/a/trainer:1", cpu="499m")) == "default"
    assert name_of(text, key("r.io/a/trainer:1", memory="5Gi")) == "default"


def test_conditions_on_a_shape_count_head_and_workers() -> None:
    text = "pools: [{name: big, match: {shape: {cpu: 5, workers: '>1'}}}]"
    shape = {"head": {"cpu": 1}, "workers": [{"name": "w", "cpu": 2, "replicas": 2}]}
    assert name_of(text, key_from({"image": "local", "tenant": "p/d", "shape": shape})) == "big"
    assert name_of(text, key(cpu=5)) == "default"


def test_a_pinned_key_is_the_same_however_it_is_written() -> None:
    text = "pools: [{name: pin, key: {image: local, tenant: p/d, shape: {head: {cpu: 2000m, memory: 1Gi}}}}]"
    asked = key(cpu=2, memory=2**30)
    found = rules(text)
    assert found.pinned == (asked,)
    assert found.settings_for(asked).pinned
    assert not found.settings_for(key()).pinned


def test_what_a_pool_leaves_open_is_taken_from_the_defaults() -> None:
    text = """
    defaults: {idle_ttl: 5m, max_uses: 7, grant_order: least_recently_used}
    pools:
      - {name: a, match: {image: a}, max_uses: 8}
      - {name: b, match: {image: b}, reclaim: never_keep}
    """
    a, b, other = (rules(text).settings_for(key(image)) for image in "abc")
    assert (a.reclaim, a.max_uses, a.grant_order) == (FixedTTL(300.0, 0.1), 8, LeastRecentlyUsed())
    assert (b.reclaim, b.max_uses) == (NeverKeep(), 7)
    assert (other.name, other.max_uses) == ("default", 7)


def test_a_pools_idle_ttl_wins_over_a_default_policy() -> None:
    text = "defaults: {reclaim: never_keep}\npools: [{name: a, match: {image: a}, idle_ttl: 1m}]"
    assert rules(text).settings_for(key("a")).reclaim == FixedTTL(60.0, 0.1)


@pytest.mark.parametrize("setting", ["idle_ttl: 10m", "idle_jitter: 0.1", "workers_idle_ttl: 0"])
def test_whoever_says_anything_of_idle_times_gets_fixed_ones(setting: str) -> None:
    assert rules(f"defaults: {{{setting}}}").settings_for(key()).reclaim == FixedTTL(600.0, 0.1)
    text = f"defaults: {{{setting}}}\npools: [{{name: a, match: {{image: a}}, reclaim: auto}}]"
    assert rules(text).settings_for(key("a")).reclaim == Auto()


def test_prices_say_what_a_start_is_worth_by_the_size_of_the_cluster() -> None:
    prices = "idle_cost_per_hour: {cpu: 2}, waiting_cost_per_hour: 58"
    found = rules(f"defaults: {{{prices}}}")
    one, four = key(cpu=1), key(cpu=4)
    assert found.settings_for(one).reclaim == Auto(start_worth=(2 + 58) / 2)
    assert found.settings_for(four).reclaim == Auto(start_worth=(8 + 58) / 8)
    # What the policy itself was given counts.
    assert rules(f"defaults: {{{prices}, reclaim: {{type: auto, start_worth: 3}}}}").settings_for(one).reclaim == Auto(
        start_worth=3.0
    )
    assert rules("defaults: {waiting_cost_per_hour: 58}").settings_for(one).reclaim == Auto()


def test_the_last_pool_may_be_given_settings_of_its_own() -> None:
    text = "pools: [{name: a, match: {image: a}}, {name: default, max_uses: 3}]"
    assert rules(text).settings_for(key("b")).max_uses == 3


def test_a_policy_with_options_is_built_from_them() -> None:
    text = "pools: [{name: a, reclaim: {type: fixed_ttl, ttl: 1h30m, jitter: 0.5}}]"
    assert rules(text).settings_for(key()).reclaim == FixedTTL(5400.0, 0.5)


def test_tenants_have_the_ceiling_of_the_first_pattern_that_matches() -> None:
    text = "tenants: [{match: 'a/*', ceiling: {cpu: 4}}, {match: '*', ceiling: {clusters: 2}}]"
    found = rules(text)
    assert found.tenant_ceiling("a/dev") == Ceiling(milli_cpu=4000)
    assert found.tenant_ceiling("b/dev") == Ceiling(clusters=2)
    assert rules("").tenant_ceiling("a/dev") == Ceiling()


def test_a_machines_cpus_are_the_ceiling_unless_one_is_given() -> None:
    def daemon(text: str) -> Ceiling:
        return build_rules(load_text(text, "c"), {}, machine_milli_cpu=8000).daemon

    assert daemon("") == Ceiling(milli_cpu=8000)
    assert daemon("ceiling: {cpu: 2, clusters: 3}") == Ceiling(milli_cpu=2000, clusters=3)
    assert daemon("ceiling: {cpu: null}") == Ceiling()


def test_windows_are_those_of_all_pools() -> None:
    text = """
    defaults: {schedule: [{from: "0 7 * * *", for: 30m, min_idle: 1}]}
    pools: [{name: a, schedule: [{from: "0 8 * * 1-5", for: 10h, min_idle: 2, timezone: Europe/Berlin}]}]
    """
    own, default = windows_of(load_text(text, "c"))
    assert (own.pool, own.for_s, own.min_idle, own.timezone) == ("a", 36_000.0, 2, "Europe/Berlin")
    assert (default.pool, default.for_s) == ("default", 1800.0)


def test_anchors_and_merges_work() -> None:
    text = "pools: [{name: a, match: {image: a}, ceiling: &c {clusters: 3}}, {name: b, ceiling: {<<: *c, gpu: 1}}]"
    assert rules(text).settings_for(key("z")).ceiling == Ceiling(clusters=3, gpu=1)


def test_the_state_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARMPOOL_STATE_DIR", str(tmp_path / "own"))
    assert default_state_dir() == tmp_path / "own"
    monkeypatch.delenv("WARMPOOL_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load(None).state_dir == tmp_path / "warmpool"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(None).store_url == f"sqlite:///{tmp_path}/.local/state/warmpool/warmpool.sqlite"


@pytest.mark.parametrize(
    ("text", "duration_s"), [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), (" 1d ", 86400), (5, 5), (0.5, 0.5)]
)  # fmt: skip
def test_durations_are_read(text: object, duration_s: float) -> None:
    assert seconds(text) == duration_s


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-5s", "1e3s", True, None, [], "5w"])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


@given(st.integers(0, 10**8))
def test_a_duration_survives_being_written_and_read(duration_s: int) -> None:
    assert seconds(duration_text(duration_s)) == duration_s
