"""``warmpool advise``: settings for each pool with the evidence, which a configuration takes as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.cli.app import app
from pool.config import load

CONFIG = """\
defaults:
  idle_cost_per_hour: {cpu: 1}
  waiting_cost_per_hour: 60
  idle_ttl: 3h
  max_uses: 77
pools:
- {name: often, match: {image: often}, buffer: 1}
- {name: pinned, key: {image: pinned, tenant: t/d}, min_idle: 0}
- {name: rare, match: {image: [rare, seldom]}}
"""


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A configuration, and a day in which one image is asked for every two minutes and another every three hours."""
    rows = [f"{n * 120},60,often,,t/d" for n in range(200)] + [f"{n * 10_800 + 7},60,rare,,t/d" for n in range(8)]
    trace, config = tmp_path / "day.csv", tmp_path / "warmpool.yaml"
    trace.write_text("arrival_s,duration_s,key,group,tenant\n" + "\n".join(rows) + "\n")
    config.write_text(CONFIG)
    return trace, config


def test_what_is_proposed_is_pasted_and_accepted(files: tuple[Path, Path], tmp_path: Path) -> None:
    trace, config = files
    code, out, err = run("advise", "--trace", trace, "--config", config, "--start", "30s")
    assert (code, err) == (0, "")
    assert out.startswith("# 208 leases from day 1 00:00 to day 1 21:00, replayed; a start takes 30 s.\n"), "no date"
    pasted = tmp_path / "pasted.yaml"
    pasted.write_text(config.read_text().split("pools:")[0] + out)
    assert run("config", "check", pasted)[0] == 0, run("config", "check", pasted)[2]
    old, new = load(config), load(pasted)
    assert [pool.name for pool in new.pools] == [pool.name for pool in old.pools]
    for before, after in zip(old.pools, new.pools, strict=True):
        kept = set(type(after).model_fields) - {"reclaim", "idle_ttl", "idle_jitter", "workers_idle_ttl"}
        assert {name: getattr(after, name) for name in kept} == {name: getattr(before, name) for name in kept}
    assert "# Nobody asked for it: left as it is.\n- name: pinned" in out
    assert "# As it is: 8 leases, 100.0% hits" not in out
    # Nothing is said that would be so anyway.
    assert "  idle_cost_per_hour: {cpu: 1.0}\n" in out
    assert "half_life" not in out
    assert "workers_ttl" not in out
    alone = tmp_path / "alone.yaml"
    alone.write_text(out)
    assert run("config", "check", alone)[0] == 0


def test_advice_from_few_leases_says_so(files: tuple[Path, Path], tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("\n".join(files[0].read_text().splitlines()[:9]) + "\n")
    said = "# So few leases say little of those to come: ask again when there are some hundreds.\n"
    assert said in run("advise", "--trace", few, "--config", files[1])[1]
    assert said not in run("advise", "--trace", files[0], "--config", files[1])[1]


def test_without_a_daemon_a_file_can_be_named_instead(files: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, err = run("--state-dir", tmp_path / "none", "advise", "--trace", files[0])
    assert code == 1
    assert err.startswith("error: No daemon runs here: ")
    assert err.endswith("A configuration FILE.yaml can stand in the place of `current`.\n")


def test_each_pool_gets_what_costs_least_there(files: tuple[Path, Path], tmp_path: Path) -> None:
    trace, config = files
    picture = tmp_path / "frontier.svg"
    code, out, err = run(
        "advise", "--trace", trace, "--config", config, "--start", "30s", "--json", "--plot", picture
    )  # fmt: skip
    assert (code, err) == (0, f"drew {picture}\n")
    first, last = map(json.loads, out.splitlines())
    pools = {pool["pool"]: pool for pool in first["pools"]}
    assert set(pools) == {"often", "rare"}
    assert pools["rare"]["proposed"] in ("never_keep", "auto", "fixed_ttl 1m")
    for pool in pools.values():
        costs = {name: tried["cost"] for name, tried in pool["tried"].items()}
        if pool["proposed"]:
            assert pool["then"]["cost"] == min(costs.values()) < 0.98 * pool["now"]["cost"]
        else:
            assert min(costs.values()) >= 0.98 * pool["now"]["cost"]
    assert last["then"]["cost"] == pytest.approx(sum(pool["then"]["cost"] for pool in pools.values()))
    assert last["changed"] == sum(pool["proposed"] is not None for pool in pools.values())
    assert "as proposed" in picture.read_text()


def test_without_prices_idle_time_and_misses_decide(files: tuple[Path, Path]) -> None:
    trace, config = files
    config.write_text("pools: [{name: rare, match: {image: rare}, idle_ttl: 3h}]\n")
    code, out, _ = run("advise", "--trace", trace, "--config", config, "--break-even", "5m")
    assert code == 0
    assert "There are no prices: costs are idle cluster hours, and --break-even for misses" in out
    assert "- name: rare" in out


AHEAD = {"newsvendor", "next_use", "least_recently_used"}
OF_GROUPS = {"just_in_time", "newsvendor, just_in_time"}


def test_where_starts_take_their_time_policies_that_start_ahead_of_demand_are_tried_too(tmp_path: Path) -> None:
    # Every three hours or so a workflow, whose second task comes ten minutes after its first.
    rows = [
        f"{n * 11_000 + n * n * 37 % 2_000 + step * 600},{600 - step},{key},x-{n},t/d"
        for n in range(60)
        for step, key in enumerate(("first", "second"))
    ]
    trace, config, pasted = tmp_path / "week.csv", tmp_path / "warmpool.yaml", tmp_path / "pasted.yaml"
    trace.write_text("arrival_s,duration_s,key,group,tenant\n" + "\n".join(rows) + "\n")
    config.write_text(
        "defaults: {idle_cost_per_hour: {cpu: 1}, waiting_cost_per_hour: 60, idle_ttl: 3h, buffer: 1}\n"
        "pools: [{name: first, match: {image: first}}, {name: second, match: {image: second}}]\n"
    )
    given = ("advise", "--trace", trace, "--config", config, "--start", "60s", "--live-starts")
    code, out, _ = run(*given, "--json")
    assert code == 0
    first, last = map(json.loads, out.splitlines())
    pools = {pool["pool"]: pool for pool in first["pools"]}
    assert pools["second"]["tried"].keys() >= AHEAD | OF_GROUPS
    assert pools["second"]["proposed"] in OF_GROUPS
    assert pools["second"]["settings"]["look_ahead"]["type"] == "just_in_time"
    assert pools["second"]["then"]["hits"] >= 50
    assert last["then"]["cost"] < 0.9 * last["now"]["cost"]
    pasted.write_text(config.read_text().split("pools:")[0] + run(*given)[1])
    assert run("config", "check", pasted)[0] == 0, run("config", "check", pasted)[2]
    assert load(pasted).pools[1].look_ahead is not None


@pytest.mark.parametrize(("options", "more"), [((), set()), (("--live-starts",), AHEAD)])
def test_without_groups_there_is_nothing_to_look_ahead_to_and_starts_that_take_no_time_are_not_started_ahead(
    files: tuple[Path, Path], options: tuple[str, ...], more: set[str]
) -> None:
    trace, config = files
    code, out, _ = run("advise", "--trace", trace, "--config", config, "--start", "30s", "--json", *options)
    assert code == 0
    for pool in json.loads(out.splitlines()[0])["pools"]:
        assert pool["tried"].keys() & (AHEAD | OF_GROUPS) == more


def test_what_comes_in_a_warm_up_decides_nothing(tmp_path: Path) -> None:
    # One image is asked for every two minutes for a day and never again; another one every two minutes from then on.
    rows = [f"{n * 120},60,{'before' if n < 720 else 'after'},,t/d" for n in range(1_440)]
    trace, config = tmp_path / "days.csv", tmp_path / "warmpool.yaml"
    trace.write_text("arrival_s,duration_s,key,group,tenant\n" + "\n".join(rows) + "\n")
    config.write_text(
        "defaults: {idle_cost_per_hour: {cpu: 1}, waiting_cost_per_hour: 60, idle_ttl: 3h}\n"
        "pools: [{name: before, match: {image: before}}, {name: after, match: {image: after}}]\n"
    )
    given = ("advise", "--trace", trace, "--config", config, "--start", "30s")
    first, last = map(json.loads, run(*given, "--warm-up", "1d", "--json")[1].splitlines())
    pools = {pool["pool"]: pool for pool in first["pools"]}
    assert (first["warm_up_s"], last["now"]["leases"], last["then"]["leases"]) == (86_400.0, 720, 720)
    # What was kept from before costs until it goes; to keep nothing is to have nothing of it.
    assert (pools["before"]["now"]["leases"], pools["before"]["proposed"]) == (0, "never_keep")
    assert pools["before"]["then"]["cost"] == 0.0
    assert pools["after"]["now"]["leases"] == 720
    code, out, err = run(*given, "--warm-up", "1d")
    assert (code, err) == (0, "")
    assert out.startswith("# 720 leases from day 2 00:00 to day 2 23:58, replayed, after a warm-up of 1 d; ")
    assert "warm_up_s" not in run(*given, "--json")[1]
    code, out, err = run(*given, "--warm-up", "3d")
    assert (code, out) == (1, "")
    assert err.startswith("error: --warm-up 3d: the demand's last job comes ")
