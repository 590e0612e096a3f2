"""The secrets of leases and clusters, derived from one key that lives beside the store.

Tokens are not stored: each is the HMAC-SHA256 of what it stands for, so the daemon knows them again after a restart,
and nobody without the key can make one up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from pool.core.errors import PoolError
from pool.core.reasons import Reason

_KEY_BYTES = 32


class UnsafeFile(PoolError):
    """A file that holds a secret cannot be used as it is."""

    reason = Reason.INVALID_REQUEST
    remedy = "Correct the file, or delete it to have a new one made."


def read_private(path: Path) -> bytes:
    """Return the content of a file that only its user can read.

    One of root's may let this process's group read it too: so a Secret of Kubernetes is mounted for who is not root.

    Raises:
        UnsafeFile: if it is not a file, cannot be read, belongs to someone else, or others may read or write it.
        FileNotFoundError: if it is not there.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeFile(f"{path} is not a plain file.")
            if found.st_uid not in (os.geteuid(), 0):
                raise UnsafeFile(f"{path} belongs to user {found.st_uid}, not to the user of this process.")
            given = found.st_uid != os.geteuid() and found.st_gid in {os.getegid(), *os.getgroups()}
            if found.st_mode & (0o037 if given else 0o077):
                mode = stat.S_IMODE(found.st_mode)
                remedy = f"Run `chmod 600 {path}`, and replace its secrets if others may have read them."
                raise UnsafeFile(
                    f"{path} holds secrets and others may read or write it (mode {mode:o}).", remedy=remedy
                )
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnsafeFile(f"{path} cannot be read: {error.strerror}.") from None


def write_private(path: Path, content: bytes) -> None:
    """Write a new file that only its user can read. It is there as a whole or not at all.

    Raises:
        FileExistsError: if it is there already.
        UnsafeFile: if it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise _not_written(path, error) from None
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, does not replace what another process made meanwhile.
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError as error:
        raise _not_written(path, error) from None
    finally:
        draft.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError) -> UnsafeFile:
    return UnsafeFile(f"{path} cannot be written: {error.strerror}.", remedy="Choose another directory.")


class Tokens:
    """Makes and checks the tokens of leases and clusters."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _KEY_BYTES:
            raise UnsafeFile(f"The key of the tokens has {len(secret)} bytes; it needs {_KEY_BYTES}.")
        self._base = hmac.new(secret, digestmod=hashlib.sha256)

    def __repr__(self) -> str:
        return "<Tokens>"

    def __reduce__(self) -> str:
        raise TypeError("the key of the tokens is not to be copied")

    @classmethod
    def load_or_create(cls, path: Path) -> Tokens:
        """Read the key at `path` (hexadecimal digits), or make one that only this user can read.

        Raises:
            UnsafeFile: if others may read it, or it is not a key.
        """
        try:
            text = read_private(path)
        except FileNotFoundError:
            # If another process was first, its key counts.
            with suppress(FileExistsError):
                write_private(path, secrets.token_hex(_KEY_BYTES).encode() + b"\n")
            text = read_private(path)
        try:
            return cls(bytes.fromhex(text.decode("ascii").strip()))
        except ValueError:
            remedy = "Restore it from the store's backup: with a new key its leases and clusters are lost."
            raise UnsafeFile(f"{path} does not hold a key of hexadecimal digits.", remedy=remedy) from None

    def _token(self, text: str) -> str:
        mac = self._base.copy()
        mac.update(text.encode())
        return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=").decode()

    def lease_token(self, lease_id: str, epoch: int) -> str:
        """Return the secret of a lease: 43 characters of base64url."""
        return self._token(f"lease\0{lease_id}\0{epoch}")

    def cluster_token(self, cluster_id: str) -> str:
        """Return the secret of a cluster, its `RAY_AUTH_TOKEN`: 43 characters of base64url."""
        return self._token(f"cluster\0{cluster_id}")

    @property
    def key_id(self) -> str:
        """What tells this key from others and tells nothing about it."""
        return self._token("key id")[:16]

    def check_lease(self, token: str, lease_id: str, epoch: int) -> bool:
        """Tell whether `token` is that lease's, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(token.encode(), self.lease_token(lease_id, epoch).encode())
