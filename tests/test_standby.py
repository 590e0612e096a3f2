"""Two daemons on one PostgreSQL: one is the writer, the other stands by and takes over."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.homes import a_home
from tests.postgres import sql
from tests.serving import SIMULATED, WAIT_S, Served


@pytest.fixture
def serve(tmp_path: Path, postgres_url: str) -> Callable[..., Served]:
    """Starts daemons of one state directory and one database."""
    config = SIMULATED + f"store: {{url: '{postgres_url}'}}\n"
    return lambda **options: Served(tmp_path, "--watch-config", config=config, **options)


def address_of(served: Served) -> str:
    """Return where a daemon listens that has not announced itself."""
    import psutil

    served.until(lambda: "standing by: the writer" in served.said(), "the second daemon to stand by")
    (listening,) = (c for c in psutil.Process(served.process.pid).net_connections("tcp") if c.status == "LISTEN")
    return f"http://127.0.0.1:{listening.laddr.port}"


def announced(served: Served) -> str:
    return served.url if (served.state_dir / "daemon.json").exists() else ""


def end(served: Served) -> None:
    served.process.kill()
    served.process.wait()


def test_a_second_daemon_stands_by_is_ready_answers_who_is_the_writer_and_takes_over(serve) -> None:
    with serve() as writer:
        second = serve()
        try:
            url = address_of(second)
            assert f"the writer of the store is process {writer.process.pid} on" in second.said()
            bearer = {"Authorization": f"Bearer {(writer.state_dir / 'operator.token').read_text().strip()}"}
            with httpx.Client(base_url=url, headers=bearer, trust_env=False) as http:
                for path in ("/readyz", "/healthz"):
                    answer = http.get(path)
                    assert (answer.status_code, answer.json()["status"]) == (200, "standing_by")
                answer = http.get("/v1/pools")
                problem = answer.json()
                assert (answer.status_code, problem["reason"]) == (503, "standing_by")
                assert f"the writer is process {writer.process.pid}" in problem["detail"]
                assert "Ask the writer" in problem["remedy"]
                assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("1", "close")
                metrics = http.get("/metrics").text
                assert "warmpool_standing_by 1.0" in metrics
                assert "warmpool_ready 0.0" in metrics
                assert "warmpool_clusters{" not in metrics

                # Commands go on asking the writer; and the standby follows the configuration.
                assert writer.run("lease", "--", "true").returncode == 0
                assert writer.url != url
                writer.config.write_text(writer.config.read_text() + "defaults: {idle_ttl: 7m}\n")
                for each in (writer, second):
                    each.until(lambda each=each: "the configuration was reloaded" in each.said(), "the reload")

                began = time.monotonic()
                end(writer)
                second.until(lambda: announced(second) == url, "the standby to take over")
                took_s = time.monotonic() - began
                assert http.get("/v1/pools").status_code == 200
                assert "warmpool_standing_by 0.0" in http.get("/metrics").text
            assert second.run("leases", "--state", "ended", "--json").stdout.count('"id"') == 1
            assert second.end() == 0
            print(f"taken over after {took_s:.1f} s")
        finally:
            end(second)
    assert not (second.state_dir / "daemon.json").exists()


def test_a_standby_that_is_told_to_end_leaves_the_writer_alone(serve) -> None:
    with serve() as writer:
        second = serve()
        try:
            address_of(second)
            assert second.end(signal.SIGTERM) == 0
        finally:
            end(second)
        assert writer.run("lease", "--", "true").returncode == 0


def test_a_writer_that_lost_its_session_ends_and_the_standby_goes_on(serve, postgres_url) -> None:
    with serve() as writer:
        second = serve()
        try:
            url = address_of(second)
            mine = "locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
            assert sql(postgres_url, f"SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE {mine}") == "1"
            assert writer.process.wait(WAIT_S) == 1
            assert "makes this daemon the writer" in writer.said()
            second.until(lambda: announced(second) == url, "the standby to take over")
            assert second.run("lease", "--", "true").returncode == 0
            assert second.end() == 0
        finally:
            end(second)


def test_daemons_on_one_database_must_have_one_key(tmp_path, serve, postgres_url) -> None:
    with serve():
        config = SIMULATED + f"store: {{url: '{postgres_url}'}}\n"
        other = Served(tmp_path / "elsewhere", config=config)
        try:
            assert other.process.wait(WAIT_S) == 1
        finally:
            end(other)
        assert "another tokens.key than this one's" in other.said()
        (tmp_path / "elsewhere" / "state" / "tokens.key").unlink()
        url = tmp_path / "url"
        url.write_text(postgres_url + "\n")
        url.chmod(0o600)
        config = SIMULATED + f"store: {{url_file: {url}}}\ntokens_dir: {tmp_path / 'state'}\n"
        other = Served(tmp_path / "elsewhere", config=config)
        try:
            address_of(other)
            assert other.end() == 0
            assert postgres_url not in other.said()
        finally:
            end(other)


@pytest.mark.ray
def test_a_lease_on_a_real_cluster_goes_on_and_its_cluster_serves_the_next_one(postgres_url: str) -> None:
    with a_home(postgres_url) as home, home.serve() as writer:
        second = home.serve("a", "--listen", "127.0.0.1:0")
        try:
            url = address_of(second)
            bearer = {"Authorization": f"Bearer {(writer.state_dir / 'operator.token').read_text().strip()}"}
            with httpx.Client(headers=bearer, timeout=90, trust_env=False) as http:
                key = {"image": "local", "tenant": "me/dev", "shape": {"head": {"cpu": 1}}}
                ask = {"request_id": "r-1", "key": key, "holder": "h", "wait_s": 60}
                while (granted := http.post(f"{writer.url}/v1/leases", json=ask).json())["status"] != "granted":
                    pass
                end(writer)
                second.until(lambda: announced(second) == url, "the standby to take over")
                proof = {"token": granted["token"], "epoch": granted["epoch"]}
                assert http.post(f"{url}/v1/leases/{granted['lease_id']}/renew", json=proof).status_code == 200
                assert http.post(f"{url}/v1/leases/{granted['lease_id']}/release", json=proof).status_code == 200
                ask |= {"request_id": "r-2"}
                while (next_one := http.post(f"{url}/v1/leases", json=ask).json())["status"] != "granted":
                    pass
            assert next_one["cluster"]["id"] == granted["cluster"]["id"]
        finally:
            second.end()
            end(second)
