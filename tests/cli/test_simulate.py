"""``warmpool simulate``: figures as a table or as JSON whose last line programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pool.cli.app import app
from pool.replay import workflows

# Gaps of 20 s and 100 s, then nobody.
TRACE = "arrival_s,duration_s,key,group,tenant\n0,10,a,,t\n30,10,a,,t\n140,10,a,,t\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["simulate", "--format", "requests", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_the_last_line_is_json(trace: Path) -> None:
    code, out, err = run("--trace", trace, "--policy", "break_even", "--break-even", "60", "--start", "7", "--json")
    assert (code, err) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert last.pop("seconds") >= 0
    assert last == {
        "hit_rate": 0.333333, "wait_p95_s": 7.0, "idle_s": 140.0, "misses": 2, "objective": 260.0, "optimum": 140.0,
        "ratio_to_optimum": 1.857143, "ratio_of_hindsight": 1.285714,
    }  # fmt: skip


def test_the_same_seed_says_the_same_but_for_the_time_it_took(trace: Path) -> None:
    outs = [run("--trace", trace, "--seed", "4", "--json")[1].split(', "seconds"')[0] for _ in range(2)]
    assert outs[0] == outs[1]


@pytest.mark.parametrize(
    ("policy", "hits", "idle_s"),
    [
        ("never_keep", 0, 0.0),
        ("fixed_ttl", 1, 140.0),
        ("{type: fixed_ttl, ttl: 2m, jitter: 0}", 2, 240.0),
        ("{type: break_even, break_even: 10}", 0, 30.0),
    ],
)
def test_a_policy_is_named_as_in_the_configuration(trace: Path, policy: str, hits: int, idle_s: float) -> None:
    code, out, _ = run("--trace", trace, "--policy", policy, "--break-even", "1m", "--json")
    first, last = map(json.loads, out.splitlines())
    assert (code, first["hits"], last["idle_s"], first["break_even_s"]) == (0, hits, idle_s, 60.0)


def test_people_get_a_table(trace: Path) -> None:
    code, out, _ = run("--trace", trace, "--break-even", "1m")
    assert code == 0
    assert "1 (33.3%)" in out
    assert "objective / optimum" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--policy", "keep"),
            "error: --policy keep: 'keep' is not known; known are fixed_ttl, never_keep, break_even, randomised, "
            "histogram, until_evicted, learned, auto. Name one of these, or of floor_and_buffer, reactive, news",
        ),
        (
            ("--idle-cost-per-hour", "{cpus: 3}"),
            "error: --idle-cost-per-hour {cpus: 3}: cpus: unknown setting; did you mean cpu? Write it as in a conf",
        ),
        (("--idle-cost-per-hour", "free"), "error: --idle-cost-per-hour free: should hold settings such as "),
        (("--policy", "none.yaml"), "error: none.yaml: the file cannot be read: no such file or directory\n"),
        (("--plot", "it.pdf"), "error: A picture is .svg or .html, and it.pdf is neither. "),
        (("--plot", "none/it.svg"), "error: none/it.svg cannot be drawn: there is no directory none. Name another fi"),
        (("--policy", "[1]"), "error: --policy: '[1]' is no policy. Write break_even or "),
        (
            ("--policy", "{type: fixed_ttl, ttl: -1}"),
            "error: --policy {type: fixed_ttl, ttl: -1}: ttl: -1 is out of range; ",
        ),
        (
            ("--policy", "{type: fixed_ttl, tl: 1}"),
            "error: --policy {type: fixed_ttl, tl: 1}: tl: unknown setting; did you mean ttl? Correct it.",
        ),
        (("--break-even", "soon"), "error: --break-even: 'soon' is not a duration"),
        (
            ("--format", "xls"),
            "error: There is no format 'xls'. Name one of philly, openb, azure, requests, history, wo",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(trace: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run("--trace", trace, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(said)


def test_workflows_are_drawn_by_the_seed_and_need_no_file(monkeypatch: pytest.MonkeyPatch, trace: Path) -> None:
    small = workflows.Demand(workflows=2, days=0.5, executions_per_day=40.0)
    monkeypatch.setattr(workflows, "Demand", lambda: small)
    for days in (None, 2):
        code, out, err = run(
            "--format", "workflows", "--seed", "3", *(() if days is None else ("--days", days)), "--json"
        )
        assert (code, err) == (0, "")
        wanted = replace(small, days=float(days or small.days))
        assert json.loads(out.splitlines()[0])["leases"] == len(workflows.generate(wanted, 3))
    code, _, err = run("--format", "workflows", "--trace", trace)
    assert (code, err.split(".")[0]) == (1, "error: --format workflows is drawn, and reads nothing")
    said = "error: --days: only demand that is drawn has them. Leave it out without -f workflows.\n"
    assert run("--trace", trace, "--days", "3") == (1, "", said)
    assert run("--format", "workflows", "--days", "0")[0] == 2


def test_a_row_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(TRACE + "x,1,a,,\n")
    said = f"{path}, line 5, column 1 (arrival_s): 'x' is not a number. Correct the file, or name its --format."
    assert run("--trace", path) == (1, "", f"error: {said}\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, _, err = run("--trace", tmp_path / "none.csv")
    assert code == 1
    assert err == f"error: {tmp_path / 'none.csv'}: no such file or directory\n"


def test_demand_is_a_file_or_a_daemons_history_and_not_both(trace: Path) -> None:
    assert run() == (
        1,
        "",
        "error: There is no demand. Give either --trace FILE with its --format, or --history last-7d.\n",
    )
    assert run("--trace", trace, "--history", "7d")[2].startswith("error: There are two demands.")


CANDIDATE = """\
defaults: {idle_cost_per_hour: {cpu: 36}, waiting_cost_per_hour: 360}
pools: [{name: kept, match: {image: a}, idle_ttl: 60s, idle_jitter: 0}]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("defaults: {reclaim: never_keep}\n")
    new.write_text(CANDIDATE)
    return old, new


def test_a_configuration_is_tried_beside_another(trace: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = files
    picture = tmp_path / "whatif.html"
    code, out, err = run(
        "--trace", trace, "--policy", new, "--against", old, "--start", "10", "--json", "--plot", picture
    )
    assert (code, err) == (0, f"drew {picture}\n")
    first, last = map(json.loads, out.splitlines())
    (pool,) = first["pools"]
    assert (last["against"]["hits"], last["candidate"]["hits"]) == (0, 1)
    # Idle for 20, 60 and 60 s; two starts of 10 s and the waiting for them, instead of three.
    assert last["candidate"]["cost"] == pytest.approx(1.4 + 0.2 + 2.0)
    assert last["against"]["cost"] == pytest.approx(0.3 + 3.0)
    assert pool["worth"] == pytest.approx(0.3)
    assert (pool["pool_name"], pool["tenant"], first["unit"]) == ("kept", "t", "cost")
    assert "new.yaml against" in picture.read_text()
    table = run("--trace", trace, "--policy", new, "--against", old, "--start", "10")[1]
    assert "1 (33.3%)" in table
    assert "+0.30" in table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "never_keep", "--against", "current"), "error: --against needs a configuration."),
        (("--policy", "none.yaml"), "error: none.yaml"),
        (
            ("--policy", "new.yaml", "--waiting-cost-per-hour", "3"),
            "error: --idle-cost-per-hour and --waiting-cost-per-",
        ),
        (("--policy", "new.yaml", "--against", "old.yaml", "--ceiling", "3"), "error: --ceiling: a configuration has"),
        (("--policy", "none.yaml", "--against", "none.yaml"), "error: none.yaml"),
    ],
)
def test_a_configuration_says_all_by_itself(trace: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run("--trace", trace, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(said)


TWO = "arrival_s,duration_s,key,group,tenant\n0,10,a,,t\n30,10,a,,t\n32,20,b,,t\n60,10,a,,t\n70,5,b,,t\n"


def test_pools_are_told_one_by_one_with_what_they_cost(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(TWO)
    priced = ("--idle-cost-per-hour", "{cpu: 36}", "--waiting-cost-per-hour", "360")
    given = ("--trace", path, "--policy", "fixed_ttl", "--break-even", "25", "--start", "10", *priced)
    first, last = map(json.loads, run(*given, "--json")[1].splitlines())
    a, b = first["pools"]
    assert [(one["image"], one["leases"], one["hits"], one["misses"]) for one in (a, b)] == [
        ("a", 3, 2, 1),
        ("b", 2, 1, 1),
    ]
    # Idle for 20, 20 and 25 s, and for 18 and 25 s; each had one start of 10 s, and somebody who waited for it.
    assert (a["idle_s"], b["idle_s"], last["idle_s"]) == (65.0, 43.0, 108.0)
    assert (a["cost"], b["cost"]) == (pytest.approx(0.65 + 0.1 + 1.0), pytest.approx(0.43 + 0.1 + 1.0))
    assert first["cost"] == pytest.approx(a["cost"] + b["cost"])
    assert (a["optimum"], b["optimum"], last["optimum"]) == (65.0, 43.0, 108.0)
    assert (a["cluster_s"], first["cluster_s"]) == (65.0 + 30.0 + 10.0, 108.0 + 55.0 + 20.0)
    table = run(*given)[1]
    assert "cost of idle time, starts and waiting" in table
    assert [line.split()[1:6] for line in table.splitlines()[-2:]] == [
        ["a", "1", "cpu", "t", "3"],
        ["b", "1", "cpu", "t", "2"],
    ]


def test_under_a_ceiling_the_optimum_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(TWO)
    given = ("--trace", path, "--policy", "fixed_ttl", "--break-even", "25", "--ceiling", "1")
    first, last = map(json.loads, run(*given, "--json")[1].splitlines())
    # There is no room for idle clusters of a while b runs, nor for b's after that beside a.
    assert (first["ceiling"], first["optimum_unbounded"], last["optimum"]) == (1, 108.0, 4 * 25.0 + 20.0)
    assert "the optimum under a ceiling of 1" in run(*given)[1]


def test_a_configuration_can_stand_alone(trace: Path, files: tuple[Path, Path]) -> None:
    code, out, err = run("--trace", trace, "--policy", files[1], "--start", "10", "--json")
    first, last = map(json.loads, out.splitlines())
    assert (code, err, last["hit_rate"]) == (0, "", 0.333333)
    assert (first["pools"][0]["pool_name"], first["cost"]) == ("kept", pytest.approx(1.4 + 0.2 + 2.0))
    assert "kept" in run("--trace", trace, "--policy", files[1])[1].splitlines()[-1]


def test_a_replay_is_drawn(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "one.svg"
    code, _, err = run("--trace", trace, "--policy", "fixed_ttl", "--break-even", "1m", "--plot", picture)
    assert (code, err) == (0, f"drew {picture}\n")
    assert "the optimum" in picture.read_text()


def test_a_policy_that_is_not_of_idle_times_has_auto_beside_it(trace: Path) -> None:
    def figures(policy: str) -> dict[str, object]:
        code, out, err = run("--trace", trace, "--policy", policy, "--break-even", "1h", "--json")
        assert (code, err) == (0, ""), policy
        first, last = map(json.loads, out.splitlines())
        return {"hits": first["hits"], "starts": first["starts"], "idle_s": last["idle_s"]}

    auto = figures("auto")
    for alike in ("most_recently_used", "fair_share", "next_use", "just_in_time", "{type: floor_and_buffer}"):
        assert figures(alike) == auto, alike
    assert figures("{type: floor_and_buffer, min_idle: 2}")["starts"] == auto["starts"] + 2  # type: ignore[operator]
    assert figures("{type: newsvendor, break_even: 1d}") != auto
    said = "error: --policy {type: newsvendor, hit: 99%}: hit: unknown setting; did you mean hits? Correct it.\n"
    assert run("--trace", trace, "--policy", "{type: newsvendor, hit: 99%}") == (1, "", said)


def test_what_cannot_be_drawn_is_said_before_anything_is_replayed(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was replayed")

    monkeypatch.setattr("pool.cli.simulating.play", fail)
    code, _, err = run("--trace", trace, "--plot", tmp_path)
    assert (code, err.startswith("error: A picture is .svg or .html, and")) == (1, True)
    (tmp_path / "a.svg").mkdir()
    code, _, err = run("--trace", trace, "--plot", tmp_path / "a.svg")
    assert (code, "cannot be drawn: it may not be written. Name another file." in err) == (1, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full, a Linux device")
def test_figures_are_told_also_where_there_is_no_room_for_the_picture(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "full.svg"
    picture.symlink_to("/dev/full")
    code, out, err = run("--trace", trace, "--plot", picture, "--json")
    assert (code, err) == (1, f"error: {picture}: no space left on device. Free disk space, then run it again.\n")
    assert "hit_rate" in json.loads(out.splitlines()[-1])
    assert not picture.exists(), "half a picture is none"


def test_a_warm_up_counts_nowhere(trace: Path, tmp_path: Path) -> None:
    given = ("--trace", trace, "--policy", "fixed_ttl", "--break-even", "60", "--start", "7")
    code, out, err = run(*given, "--warm-up", "1m", "--json")
    first, last = map(json.loads, out.splitlines())
    del last["seconds"]
    assert (code, err) == (0, "")
    # Counted are who comes at 140 s, and misses, and of the cluster that was left at 40 s the 40 s from 60 s on.
    assert last == {
        "hit_rate": 0.0, "wait_p95_s": 7.0, "idle_s": 40.0 + 60.0, "misses": 1, "objective": 160.0, "optimum": 60.0,
        "ratio_to_optimum": 2.666667, "ratio_of_hindsight": 1.0,
    }  # fmt: skip
    assert (first["warm_up_s"], first["leases"], first["pools"][0]["leases"], first["refused"]) == (60.0, 1, 1, 0)
    picture = tmp_path / "after.svg"
    code, out, err = run(*given, "--warm-up", "1m", "--plot", picture)
    assert (code, err) == (0, f"The first 1 min are not counted.\ndrew {picture}\n")
    assert "0 (0.0%)" in out


def test_a_pool_that_was_asked_for_nothing_has_no_share_of_hits(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text(TRACE.replace("0,10,a", "0,10,b", 1))
    code, out, _ = run("--trace", path, "--warm-up", "20", "--policy", "{type: fixed_ttl, ttl: 1h}")
    (of_b,) = [line.split() for line in out.splitlines() if line.split()[1:2] == ["b"]]
    assert (code, of_b[5:7]) == (0, ["0", "-"])


def test_without_a_warm_up_nothing_is_other(trace: Path) -> None:
    outs = [run("--trace", trace, *more, "--json")[1].split(', "seconds"')[0] for more in ((), ("--warm-up", "0"))]
    assert outs[0] == outs[1]
    assert "warm_up" not in outs[0]


def test_both_sides_of_a_comparison_have_the_warm_up(trace: Path, files: tuple[Path, Path]) -> None:
    given = ("--trace", trace, "--policy", files[1], "--against", files[0], "--start", "10", "--warm-up", "1m")
    first, last = map(json.loads, run(*given, "--json")[1].splitlines())
    assert [last[side]["leases"] for side in ("against", "candidate")] == [1, 1]
    assert (last["candidate"]["idle_s"], first["warm_up_s"]) == (100.0, 60.0)
    assert (first["pools"][0]["against"]["leases"], first["pools"][0]["candidate"]["idle_s"]) == (1, 100.0)
    # One start of 10 s and the waiting for it on both sides, and 100 s of idle time on one.
    assert last["candidate"]["cost"] - last["against"]["cost"] == pytest.approx(1.0)


def test_a_warm_up_longer_than_the_demand_is_one_sentence(trace: Path) -> None:
    said = "error: --warm-up 3m: the demand's last job comes 2 min 20 s after its first. Say a shorter time.\n"
    assert run("--trace", trace, "--warm-up", "3m") == (1, "", said)
    assert run("--trace", trace, "--warm-up", "soon")[2].startswith("error: --warm-up: 'soon' is not a duration")
    assert run("--trace", trace, "--warm-up", "140")[0] == 0
