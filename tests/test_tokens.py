from __future__ import annotations

import copy
import os
import pickle
import re
from pathlib import Path

import pytest

from pool.tokens import Tokens, UnsafeFile, read_private, write_private


def test_a_key_is_made_once_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "tokens.key"
    made = Tokens.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert Tokens.load_or_create(path).lease_token("l-1", 3) == made.lease_token("l-1", 3)
    assert [file.name for file in path.parent.iterdir()] == ["tokens.key"]


def test_tokens_differ_by_what_they_stand_for() -> None:
    tokens, others = Tokens(b"a" * 32), Tokens(b"b" * 32)
    made = [
        tokens.lease_token("l-1", 1),
        tokens.lease_token("l-1", 2),
        tokens.lease_token("l-11", 1),
        tokens.lease_token("l-1\x001", 1),
        tokens.cluster_token("l-1"),
        tokens.cluster_token("c-1"),
        others.lease_token("l-1", 1),
        others.cluster_token("c-1"),
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in made)


def test_only_the_leases_own_token_passes() -> None:
    tokens = Tokens(b"a" * 32)
    right = tokens.lease_token("l-1", 1)
    assert tokens.check_lease(right, "l-1", 1)
    for wrong in ("", right[:-1], right + "x", "ü" * 43, tokens.lease_token("l-1", 2)):
        assert not tokens.check_lease(wrong, "l-1", 1)


def test_the_key_shows_nowhere() -> None:
    tokens = Tokens(b"secretly" * 4)
    assert repr(tokens) == "<Tokens>"
    for leak in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            leak(tokens)


def test_a_key_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "tokens.key"
    Tokens.load_or_create(path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(UnsafeFile, match=f"chmod 600 {path}"):
            Tokens.load_or_create(path)


@pytest.mark.parametrize("content", [b"", b"zz", b"\xff\xfe", b"abcd"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokens.key"
    write_private(path, content)
    with pytest.raises(UnsafeFile):
        Tokens.load_or_create(path)


def test_a_private_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"first")
    with pytest.raises(FileExistsError):
        write_private(path, b"second")
    assert read_private(path) == b"first"


def test_what_is_no_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match="cannot be read"):
        read_private(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnsafeFile, match="cannot be"):
        write_private(tmp_path / "file" / "below", b"")


def test_a_file_of_roots_may_be_read_by_this_process_s_group_as_a_mounted_secret_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.key"
    path.write_bytes(b"a secret")
    if path.stat().st_uid != 0:
        pytest.skip("only root can make a file of root's")
    monkeypatch.setattr(os, "geteuid", lambda: 65532)
    monkeypatch.setattr(os, "getgroups", lambda: [path.stat().st_gid])
    path.chmod(0o440)
    assert read_private(path) == b"a secret"
    for mode in (0o460, 0o444):
        path.chmod(mode)
        with pytest.raises(UnsafeFile, match="others may read or write it"):
            read_private(path)
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: 65532)
    path.chmod(0o440)
    with pytest.raises(UnsafeFile, match="others may read or write it"):
        read_private(path)
