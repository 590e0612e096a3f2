"""A daemon as a process: how it begins, reloads, and ends."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx

from tests.serving import SIMULATED, WAIT_S, Served


def refused(home: Path, *arguments: str, config: str = SIMULATED) -> str:
    """Return what a daemon said that could not be started."""
    served = Served(home, *arguments, config=config)
    try:
        assert served.process.wait(WAIT_S) == 1
    finally:
        served.process.kill()
        served.process.wait()
    assert "Traceback" not in served.said()
    return served.said()


def scrape(served: Served) -> str:
    token = (served.state_dir / "metrics.token").read_text().strip()
    answer = httpx.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert answer.status_code == 200
    return answer.text


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        assert f"listens on {served.url}" in served.said()
        assert str(served.state_dir / "operator.token") in served.said()
        assert httpx.get(f"{served.url}/readyz", trust_env=False).status_code == 200
        assert served.end(signal.SIGTERM) == 0
    assert "stopped; clusters are kept" in served.said()
    assert not (served.state_dir / "daemon.json").exists()


def test_sigint_ends_it_too_and_the_next_one_takes_over(tmp_path: Path) -> None:
    with Served(tmp_path) as first:
        assert first.run("lease", "--", "true").returncode == 0
        assert first.end(signal.SIGINT) == 0
    with Served(tmp_path) as second:
        assert '"end_reason": "released"' in second.run("leases", "--state", "ended", "--json").stdout


def test_stop_clusters_stops_them(tmp_path: Path) -> None:
    with Served(tmp_path, "--stop-clusters") as served:
        assert served.run("prewarm").returncode == 0
        assert served.end() == 0
    assert "stopped, and every cluster with it" in served.said()
    assert "The daemon was asked to stop its clusters".lower() in served.said().lower()


def test_a_second_daemon_on_the_directory_names_the_first(tmp_path: Path) -> None:
    with Served(tmp_path) as first:
        said = refused(tmp_path)
        assert f"is in use by the daemon with process id {first.process.pid}" in said
        assert httpx.get(f"{first.url}/readyz", trust_env=False).status_code == 200


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(tmp_path, "--listen", f"127.0.0.1:{port}")
    assert f"error: The API cannot listen on 127.0.0.1, port {port}: address already in use. Choose" in said


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "warmpool.sqlite").write_bytes(b"this is no database" * 100)
    assert "error: " in refused(tmp_path)


def test_a_wrong_configuration_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    said = refused(tmp_path, config=SIMULATED + "lisen: 1\n")
    assert "warmpool.yaml:3:1: lisen: unknown setting; did you mean listen?" in said
    assert not (tmp_path / "state").exists()


def test_sighup_takes_the_new_configuration_as_a_whole(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        assert served.run("prewarm").returncode == 0
        served.config.write_text(SIMULATED + "pools: [{name: renamed, idle_ttl: 1h}]\n")
        served.process.send_signal(signal.SIGHUP)
        served.until(lambda: "the configuration was reloaded" in served.said(), "the reload")
        text = scrape(served)
        assert 'warmpool_clusters{pool="renamed",state="idle"} 1.0' in text
        assert 'warmpool_config_reloads_total{result="ok"} 1.0' in text


def test_sighup_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        for text, sentence in (
            (SIMULATED + "pools: [{name: a, idle_tll: 1}]\n", "did you mean idle_ttl?"),
            (SIMULATED.replace("127.0.0.1:0", "127.0.0.1:1"), "listen cannot be changed while the daemon runs"),
        ):
            served.config.write_text(text)
            served.process.send_signal(signal.SIGHUP)
            served.until(lambda sentence=sentence: sentence in served.said(), sentence)
        assert served.run("lease", "--", "true").returncode == 0
        assert 'pool="default"' in scrape(served)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    slow = SIMULATED.replace("stop: 10ms", "stop: 1h")
    with Served(tmp_path, "--stop-clusters", config=slow) as served:
        assert served.run("prewarm").returncode == 0
        served.process.send_signal(signal.SIGTERM)
        served.until(lambda: "SIGTERM: ending" in served.said(), "the first signal to be noticed")
        assert served.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_a_window_that_is_open_at_the_start_has_its_clusters(tmp_path: Path) -> None:
    key = "key: {image: local, tenant: p/d}"
    window = "{from: '0 0 * * *', for: 24h, min_idle: 2}"
    with Served(tmp_path, config=SIMULATED + f"pools: [{{name: a, {key}, schedule: [{window}]}}]\n") as served:
        served.until(lambda: 'warmpool_clusters{pool="a",state="idle"} 2.0' in scrape(served), "two idle clusters")


def test_a_store_that_fails_while_it_runs_ends_it_with_1(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        # Another writer takes the store over: this daemon may commit nothing more.
        import sqlite3

        with sqlite3.connect(served.state_dir / "warmpool.sqlite", timeout=30) as database:
            (table,) = (
                name
                for (name,) in database.execute("select name from sqlite_master where type = 'table'")
                if "generation" in {row[1] for row in database.execute(f"pragma table_info({name})")}
            )
            database.execute(f"update {table} set generation = generation + 1")
        database.close()
        done = served.run("prewarm")
        assert done.returncode == 1
        assert served.process.wait(WAIT_S) == 1
        assert "the daemon stops" in served.said()


def test_what_the_api_refuses_is_counted_once_and_acquires_by_their_pool(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        token = (served.state_dir / "client.token").read_text().strip()
        http = httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
        with http:
            key = {"image": "local", "tenant": "p/d"}
            ask = {"request_id": "r-1", "key": key, "holder": "h", "wait_s": 30}
            while (granted := http.post("/v1/leases", json=ask, timeout=60).json())["status"] != "granted":
                pass
            proof = {"token": granted["token"], "epoch": granted["epoch"] + 1}
            assert http.post(f"/v1/leases/{granted['lease_id']}/renew", json=proof).status_code == 409
            many = {"leases": [{"lease_id": granted["lease_id"], **proof}]}
            assert http.post("/v1/renew", json=many).json()["results"][0]["reason"] == "stale_epoch"
            assert http.post("/v1/leases", json=ask | {"request_id": "r-2", "mode": "warm_only"}).status_code == 409
            assert http.post("/v1/leases", json=ask | {"holder": 7}).status_code == 400
            assert http.post("/v1/leases", headers={"Authorization": "Bearer nobody"}).status_code == 401
            unknown = http.post("/v1/leases/l-0/release", json=proof)
            assert unknown.status_code == 404
        text = scrape(served)
    assert 'warmpool_refusals_total{reason="stale_epoch"} 2.0' in text
    assert 'warmpool_refusals_total{reason="invalid_request"} 1.0' in text
    assert 'warmpool_refusals_total{reason="unauthenticated"} 1.0' in text
    assert 'warmpool_refusals_total{reason="unknown_lease"} 1.0' in text
    assert 'warmpool_refusals_total{reason="warm_only_miss"}' not in text
    assert 'warmpool_rejections_total{pool="default",reason="warm_only_miss"} 1.0' in text


def test_a_watched_configuration_is_taken_anew_when_its_content_changes(tmp_path: Path) -> None:
    with Served(tmp_path, "--watch-config") as served:
        served.config.write_text(served.config.read_text() + "defaults: {idle_ttl: 7m}\n")
        served.until(lambda: "the configuration was reloaded" in served.said(), "the reload")
        served.config.write_text("listen: nowhere\n")
        served.until(lambda: "the configuration was not reloaded" in served.said(), "the refusal")
