"""The commands against a real daemon over simulated clusters."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import SIMULATED, WAIT_S, Served, environment


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("cli")) as served:
        yield served


def listed(daemon: Served, *arguments: str) -> list[dict[str, Any]]:
    done = daemon.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_command_runs_with_the_cluster_in_its_environment(daemon: Served) -> None:
    script = (
        "import os; print(os.environ['RAY_ADDRESS'], os.environ['RAY_AUTH_MODE'], len(os.environ['RAY_AUTH_TOKEN']))"
    )
    done = daemon.run("lease", "--tenant", "env/d", "--", sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    address, mode, length = done.stdout.split()
    assert address.startswith("c-")
    assert (mode, length) == ("token", "43")
    (lease,) = listed(daemon, "leases", "--state", "ended", "--tenant", "env/d")
    assert (lease["end_reason"], lease["outcome"]) == ("released", "cold")


def test_the_commands_exit_code_is_handed_on_and_its_options_are_its_own(daemon: Served) -> None:
    done = daemon.run(
        "lease", "--", sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "--json", "-h"
    )
    assert (done.returncode, done.stdout) == (7, "['--json', '-h']\n")


def test_a_killed_command_ends_as_a_shell_would_tell_it(daemon: Served) -> None:
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert daemon.run("lease", "--", sys.executable, "-c", script).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_go_to_the_command_and_the_lease_is_released(daemon: Served, number: int) -> None:
    script = (
        f"import signal, sys, time\nsignal.signal({int(number)}, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\nwhile True: time.sleep(1)"
    )
    tenant = f"signal-{int(number)}/d"
    command = [sys.executable, "-m", "pool.cli", "--state-dir", str(daemon.state_dir), "lease", "--tenant", tenant]
    process = subprocess.Popen(
        [*command, "--", sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment(), start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(WAIT_S) == 9
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    (lease,) = listed(daemon, "leases", "--state", "ended", "--tenant", tenant)
    assert lease["end_reason"] == "released"


def test_a_revoked_lease_ends_its_command(daemon: Served) -> None:
    command = [sys.executable, "-m", "pool.cli", "--state-dir", str(daemon.state_dir), "lease", "--tenant", "revoked/d"]
    process = subprocess.Popen(
        [*command, "--", sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (lease,) = listed(daemon, "leases", "--tenant", "revoked/d")
        done = daemon.run("revoke", lease["id"], "--why", "the node is needed")
        assert done.stdout == f"lease {lease['id']} ended: revoked\n", done.stderr
        _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert err.count("the node is needed") == 1, err
    finally:
        process.kill()
        process.communicate()


def test_an_operators_round(daemon: Served) -> None:
    done = daemon.run("prewarm", "--tenant", "round/d", "--cpu", "2", "--workers", "1")
    assert done.stdout == "1 starting, 0 were there\n", done.stderr
    (pool,) = listed(daemon, "pools", "--tenant", "round/d")
    assert pool["shape"] == "2 cpu + 1x(2 cpu)"
    daemon.until(
        lambda: [c["state"] for c in listed(daemon, "clusters", "--tenant", "round/d")] == ["idle"], "an idle cluster"
    )
    (cluster,) = listed(daemon, "clusters", "--tenant", "round/d")
    assert daemon.run("cordon", cluster["id"]).stdout == f"{cluster['id']} cordoned\n"
    assert listed(daemon, "clusters", "--tenant", "round/d")[0]["cordoned"]
    assert daemon.run("uncordon", cluster["id"]).stdout == f"{cluster['id']} uncordoned\n"
    assert "min_idle 0, no max_clusters" in daemon.run("resize", pool["digest"], "--min-idle", "0").stdout
    answer = json.loads(daemon.run("drain", pool["digest"], "--json").stdout)
    assert answer["ids"] == [cluster["id"]]
    daemon.until(lambda: not listed(daemon, "clusters", "--tenant", "round/d"), "the drained cluster to be gone")


def test_tables_are_for_people_and_fit_a_narrow_terminal(daemon: Served) -> None:
    daemon.run("prewarm", "--tenant", "table/d")
    for command in ("pools", "clusters", "leases", "queue"):
        done = daemon.run(command)
        assert done.returncode == 0
        assert done.stdout.strip(), command
        assert "[" not in done.stdout.splitlines()[0]
    row = next(line for line in daemon.run("pools").stdout.splitlines() if "table/d" in line)
    assert row.split()[1:4] == ["default", "local", "1"]


def test_explain_tells_in_sentences_what_happened(daemon: Served) -> None:
    assert daemon.run("lease", "--tenant", "explain/d", "--", "true").returncode == 0
    (lease,) = listed(daemon, "leases", "--state", "ended", "--tenant", "explain/d")
    done = daemon.run("explain", lease["id"])
    assert done.returncode == 0
    assert "explain/d" in done.stdout
    assert json.loads(daemon.run("explain", lease["id"], "--json").stdout)["lease_id"] == lease["id"]
    done = daemon.run("explain", lease["cluster"])
    assert done.returncode == 0
    assert "It has served 1 lease." in done.stdout
    assert f"Its dashboard, which asks for the cluster's token: http://{lease['cluster']}.invalid:8265." in done.stdout
    assert json.loads(daemon.run("explain", lease["cluster"], "--json").stdout)["cluster_id"] == lease["cluster"]


def test_stopped_clusters_are_not_listed_as_if_there_were_none(daemon: Served) -> None:
    done = daemon.run("clusters", "--state", "stopped")
    assert done.returncode == 1
    assert "`warmpool explain c-...`" in done.stderr


def test_pools_tells_why_starts_fail_and_when_the_next_one_is_tried(tmp_path: Path) -> None:
    config = SIMULATED.replace("reset: 10ms", "reset: 10ms, start_fails: 1")
    config += "defaults: {breaker_failures: 2, breaker_open: 10m, backoff: 10ms}\n"
    with Served(tmp_path, config=config) as failing:
        assert failing.run("lease", "--", "true").returncode == 1
        note = failing.run("pools").stdout.splitlines()[1]
        assert "2 starts failed in a row (breaker open, next try in " in note
        assert note.rstrip().endswith("The simulated head exited with code 1.")
        (pool,) = listed(failing, "pools")
        done = failing.run("explain", f"c-{pool['digest']}-1")
        assert "It was never ready." in done.stdout
        assert "It was gone at " in done.stdout
        assert "Why: the cluster could not be started." in done.stdout
        assert "Its start has come to" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("explain", "nobody"), "There is no lease 'nobody'"),
        (("explain", "7f3a01b2c3d4"), "`warmpool clusters --pool 7f3a01b2c3d4`"),
        (("cordon", "c-nobody"), "There is no cluster 'c-nobody'"),
        (("drain", "nobody"), "There is no pool 'nobody'"),
        (("drain", "a/../b"), "There is no"),
        (("resize", "nobody"), "Give --min-idle or --max-clusters"),
        (("revoke", "nobody"), "There is no lease 'nobody'"),
        (("clusters", "--state", "asleep"), "state"),
        (("prewarm", "--memory", "4Zi"), "'4Zi' is not a size"),
        (("prewarm", "--image", "", "--tenant", "t/d"), "image"),
        (("lease", "--mode", "maybe", "--", "true"), "mode: 'maybe' is not a mode"),
        (("lease", "--mode", "warm_only", "--tenant", "cold/d", "--", "true"), "No idle cluster"),
        (("lease", "--tenant", "a b", "--", "true"), "tenant"),
    ],
)
def test_what_is_refused_is_one_sentence_on_stderr(daemon: Served, arguments: tuple[str, ...], sentence: str) -> None:
    done = daemon.run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_token_that_is_not_known_is_told_with_where_to_name_another(daemon: Served, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a-token-of-some-length\n")
    for command in (("pools",), ("lease", "--", "true")):
        done = daemon.run("--token-file", str(tmp_path / "token"), *command)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "The bearer token is nobody's." in done.stderr
        assert "WARMPOOL_TOKEN_FILE" in done.stderr


def test_who_comes_with_a_clients_token_is_told_where_an_operators_is(daemon: Served) -> None:
    done = daemon.run("--token-file", str(daemon.state_dir / "client.token"), "prewarm")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert (
        "has the role client; this needs operator. Give the --token-file of an operator, or unset WARM" in done.stderr
    )


def test_a_reader_that_goes_away_is_no_error(daemon: Served) -> None:
    command = f"{sys.executable} -m pool.cli --state-dir {daemon.state_dir} pools --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment(), timeout=WAIT_S)
    assert done.stderr == ""


def test_files_of_the_daemon_are_its_users_alone(daemon: Served) -> None:
    for file in ("daemon.json", "operator.token", "tokens.yaml", "tokens.key", "warmpool.sqlite"):
        assert (daemon.state_dir / file).stat().st_mode & 0o077 == 0, file
    for role in ("client", "operator", "metrics"):
        assert (daemon.state_dir / f"{role}.token").read_text().strip() not in daemon.said()


def test_history_is_exported_and_replayed(daemon: Served, tmp_path: Path) -> None:
    for _ in range(2):
        done = daemon.run("lease", "--tenant", "past/d", "--group", "x-1", "--", sys.executable, "-c", "")
        assert done.returncode == 0, done.stderr
    for options in ((), ("--json",)):
        file = tmp_path / "demand"
        done = daemon.run("history", "export", "--since", "last-1d", "--tenant", "past/d", "-o", str(file), *options)
        assert (done.returncode, done.stderr) == (0, f"wrote 2 leases to {file}\n")
        replayed = daemon.run("simulate", "--trace", str(file), "--format", "history", "--json")
        assert json.loads(replayed.stdout.splitlines()[0])["leases"] == 2, replayed.stderr
    live = daemon.run("simulate", "--history", "last-1h", "--json")
    assert live.returncode == 0, live.stderr
    assert json.loads(live.stdout.splitlines()[0])["leases"] >= 2


def test_history_that_there_is_not_is_said(daemon: Served) -> None:
    done = daemon.run("simulate", "--history", "0s")
    assert (done.returncode, done.stderr) == (
        1, "error: --history: the daemon was asked for nothing in 0s. Say a longer time.\n"
    )  # fmt: skip
    done = daemon.run("history", "export", "--since", "soon")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --since: 'soon' is no time of the past.")


def test_the_ledger_is_a_table_json_or_csv(daemon: Served) -> None:
    assert daemon.run("lease", "--tenant", "books/d", "--", sys.executable, "-c", "").returncode == 0
    table = daemon.run("ledger", "--by", "day,pool", "--tenant", "books/d")
    assert table.returncode == 0, table.stderr
    assert table.stdout.split()[:4] == ["DAY", "POOL", "NAME", "LIFE"]
    assert "COST" not in table.stdout
    assert table.stderr.startswith("There are no costs: set idle_cost_per_hour")
    shown = json.loads(daemon.run("ledger", "--tenant", "books/d", "--json").stdout)
    (line,) = shown["items"]
    assert line["pool"] in table.stdout, "many pools have one name"
    assert (line["leases"], line["misses_by_reason"], line["cost"]) == (1, {"no_cluster": 1}, 0.0)
    assert line["starting_s"] >= 0.05
    rows = daemon.run("ledger", "--tenant", "books/d", "--csv", "--since", "last-2d").stdout.splitlines()
    assert len(rows) == 2
    cells = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert (cells["pool"], cells["leases"], cells["misses_by_reason"]) == (line["pool"], "1", "no_cluster=1")
    assert daemon.run("ledger", "--by", "holder").stderr.startswith("error: --by: 'holder' is not what lines can be")


def test_a_candidate_is_tried_on_the_daemons_history_against_its_configuration(daemon: Served, tmp_path: Path) -> None:
    assert daemon.run("lease", "--tenant", "tried/d", "--", sys.executable, "-c", "").returncode == 0
    candidate = tmp_path / "candidate.yaml"
    candidate.write_text("defaults: {reclaim: never_keep}\n")
    done = daemon.run(
        "simulate", "--history", "last-1h", "--policy", str(candidate), "--against", "current", "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["candidate"]["hits"] == 0
    assert last["candidate"]["leases"] == last["against"]["leases"] >= 1


def test_a_policy_in_the_shadow_is_compared_and_nothing_of_it_is_done(tmp_path: Path) -> None:
    with Served(tmp_path, config=SIMULATED + "shadow: {reclaim: never_keep}\n") as daemon:
        for _ in range(3):
            assert daemon.run("lease", "--tenant", "dark/d", "--", sys.executable, "-c", "").returncode == 0
        table = daemon.run("shadow")
        assert table.returncode == 0, table.stderr
        assert table.stdout.startswith("In the shadow: never_keep, for ")
        answer = json.loads(daemon.run("shadow", "--json").stdout)
        total = answer["total"]
        assert (total["leases"], total["both"], total["shadow_only"], total["shadow_starts"]) == (3, 0, 0, 3)
        assert total["live_starts"] < 3
        assert total["live_idle_s"] > total["shadow_idle_s"] == 0.0
        daemon.config.write_text(SIMULATED)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: "was reloaded" in daemon.said(), "the reload")
        done = daemon.run("shadow")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: There is no policy in the shadow. Name a policy in the configuration")
