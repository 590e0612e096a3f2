from __future__ import annotations

import pytest

from pool.client import Client, NotConfigured, configured
from pool.client.errors import LeaseLost
from pool.core.reasons import Reason


@pytest.fixture
def bare(monkeypatch):
    for name in ("WARMPOOL_URL", "WARMPOOL_TOKEN", "WARMPOOL_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_configured_means_that_a_url_is_set(bare):
    assert not configured()
    bare.setenv("WARMPOOL_URL", " ")
    assert not configured()
    bare.setenv("WARMPOOL_URL", "http://127.0.0.1:1")
    assert configured()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "No daemon is configured: WARMPOOL_URL is not set. Set WARMPOOL_URL"),
        ({"WARMPOOL_URL": "http://h:1"}, "The daemon wants a token. Set either WARMPOOL_TOKEN_FILE or WARMPOOL_TOKEN."),
        ({"WARMPOOL_URL": "h:1", "WARMPOOL_TOKEN": "t"}, "WARMPOOL_URL 'h:1' is not the http(s) URL of a daemon."),
        ({"WARMPOOL_URL": "ftp://h", "WARMPOOL_TOKEN": "t"}, "WARMPOOL_URL 'ftp://h' is not the http(s) URL"),
        ({"WARMPOOL_URL": "http://h:port", "WARMPOOL_TOKEN": "t"}, "WARMPOOL_URL is not a URL."),
        ({"WARMPOOL_URL": "http://me:hidden@h", "WARMPOOL_TOKEN": "t"}, "WARMPOOL_URL holds a user or password"),
        ({"WARMPOOL_URL": "http://h", "WARMPOOL_TOKEN": "a b"}, "What the token holds is not a token."),
        (
            {"WARMPOOL_URL": "http://h", "WARMPOOL_TOKEN_FILE": "/no/such"},
            "The token file /no/such cannot be read: No such file or directory.",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_sentence(bare, variables, message):
    for name, value in variables.items():
        bare.setenv(name, value)
    with pytest.raises(NotConfigured) as caught:
        Client.from_environment()
    assert str(caught.value).startswith(message)
    assert "hidden" not in str(caught.value)


def test_a_token_file_wins_over_a_token(bare, tmp_path):
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    bare.setenv("WARMPOOL_URL", "http://h:1/")
    bare.setenv("WARMPOOL_TOKEN", "of-the-environment")
    bare.setenv("WARMPOOL_TOKEN_FILE", str(file))
    client = Client.from_environment()
    assert client.url == "http://h:1"
    assert client._endpoint.headers()["Authorization"] == "Bearer of-the-file"
    assert repr(client) == "<Client http://h:1>"


def test_a_lost_lease_can_be_told_to_another_process():
    import pickle

    error = pickle.loads(pickle.dumps(LeaseLost(Reason.REVOKED, "An operator did it.")))
    assert (error.reason, error.explanation) == (Reason.REVOKED, "An operator did it.")
