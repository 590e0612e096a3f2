from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from pool.access import Access, AccessError, Caller, Role
from pool.tokens import UnsafeFile

TOKEN = "0123456789abcdef"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_first_start_makes_a_token_for_each_role(tmp_path: Path) -> None:
    path = tmp_path / "state" / "tokens.yaml"
    access = Access.load_or_create(path)
    for role in Role:
        file = path.with_name(f"{role}.token")
        assert file.stat().st_mode & 0o777 == 0o600
        caller = access.caller_for(file.read_text().strip())
        assert caller is not None
        assert (caller.name, caller.role, caller.tenants) == (role.value, role, ("*",))
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_text()
    Access.load_or_create(path)
    assert path.read_text() == content


def test_a_new_tokens_file_replaces_the_token_files_of_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    Access.load_or_create(path)
    old = path.with_name("client.token").read_text().strip()
    path.unlink()
    access = Access.load_or_create(path)
    assert access.caller_for(old) is None
    assert access.caller_for(path.with_name("client.token").read_text().strip()) is not None


def test_nobody_has_a_token_that_is_not_in_the_file(tmp_path: Path) -> None:
    access = Access.load_or_create(tmp_path / "tokens.yaml")
    for token in ("", "x", TOKEN, "\udcff"):
        assert access.caller_for(token) is None


def test_tenants_are_patterns() -> None:
    caller = Caller("ci", Role.CLIENT, ("flytesnacks/*", "union/prod"))
    for _ in range(2):  # the second time from memory
        assert caller.sees("flytesnacks/development")
        assert caller.sees("union/prod")
        assert not caller.sees("union/production")
        assert not caller.sees("flytesnacks")


def test_an_operator_may_do_what_others_may() -> None:
    assert all(Caller("o", Role.OPERATOR, ()).may(role) for role in Role)
    assert [role for role in Role if Caller("c", Role.CLIENT, ()).may(role)] == [Role.CLIENT]
    assert [role for role in Role if Caller("m", Role.METRICS, ()).may(role)] == [Role.METRICS]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a list"),
        ("{}", "not a list"),
        ("- name: [", "line 1: this is not YAML"),
        ("- 3", "entry 1: the entry"),
        (f"- {{name: a, role: client, token: {TOKEN}z, tenant: x}}", r"entry 1 \(a\): tenant: "),
        (f"- {{name: a, role: king, token: {TOKEN}z}}", r"entry 1 \(a\): role: "),
        ("- {name: a, role: client, token: short}", "openssl rand"),
        ("- {name: a b, role: client, token: short}", r"entry 1 \(a b\): name: "),
        (
            f"- {{name: a, role: client, token: {TOKEN}z}}\n- {{name: a, role: client, token: {TOKEN}y}}",
            "entry 2: the name 'a' is taken",
        ),
        (
            f"- {{name: a, role: client, token: {TOKEN}z}}\n- {{name: b, role: client, token: {TOKEN}z}}",
            r"entry 2 \(b\): its token is also a's",
        ),
    ],
)
def test_a_wrong_file_is_told_by_file_and_entry_without_its_secrets(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(AccessError, match=says) as caught:
        Access(path)
    assert str(path) in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_tokens_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    Access.load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        Access.load_or_create(path)


def test_a_change_is_noticed_and_a_wrong_one_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = written(tmp_path, yaml.safe_dump([{"name": "a", "role": "client", "token": TOKEN}]))
    access = Access(path)
    assert access.caller_for(TOKEN) is not None

    path.write_text("nonsense")
    now += 2
    assert access.caller_for(TOKEN) is not None
    assert "not a list" in access.error

    path.write_text(yaml.safe_dump([{"name": "b", "role": "client", "token": TOKEN[::-1]}]))
    now += 2
    assert access.caller_for(TOKEN) is None
    assert access.caller_for(TOKEN[::-1]) is not None
    assert access.error == ""

    path.unlink()
    now += 2
    assert access.caller_for(TOKEN[::-1]) is not None
    assert "is not there" in access.error


def test_no_token_shows_in_a_repr(tmp_path: Path) -> None:
    access = Access.load_or_create(tmp_path / "tokens.yaml")
    token = (tmp_path / "operator.token").read_text().strip()
    caller = access.caller_for(token)
    assert repr(caller) == "<Caller operator, operator of *>"
    assert token not in repr(access) + repr(vars(access))
