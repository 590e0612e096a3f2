"""Putting, getting, listing and dropping resident values."""

from __future__ import annotations

import builtins
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pickle import PickleBuffer
from typing import Any

from pool.core.model import ReadFrom
from pool.inside.owner import PAUSE_S, PREFIX
from pool.resident import behind
from pool.resident import durable as copies
from pool.resident.errors import DurableFailed, NotConnected, ResidentError, ResidentFull, ResidentMissing
from pool.resident.owners import BOUND_S, Owners
from pool.resident.packed import DATASET, Packed, kind_of, pack, unpack
from pool.resident.remembered import remembered

_reads: dict[ReadFrom, int] = {}
"""From where this process's reads were answered since `take_reads` was called last."""

LOST_AFTER_S = 60.0
"""A value that does not come within it is lost: its node hangs, or was removed."""

REPLACED_S = 10.0
"""So long an owner that has died may take to be replaced by another."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One resident value.

    Attributes:
        name: of the value.
        bytes: in the object stores.
        kind: ``pandas``, ``polars``, ``arrow``, ``dataset`` or ``pickle``.
        node: id of the Ray node whose owner has it.
        put_at, used_at: when it was put, and last put or got (epoch seconds).
        keep_for_s: it is dropped when it was not used for so many seconds; None for no such end.
        pinned: it is not dropped for room.
        durable: URL of its durable copy; empty for none.
        resident: it is in memory; else only its durable copy is left.
        memory_s: how long the memory took; 0 where `list` returned it.
        durable_s: how long the durable copy took; 0 where `list` returned it, unless it was written behind.
        writing: its durable copy is still being written, behind.
    """

    name: str
    bytes: int
    kind: str
    node: str
    put_at: float
    used_at: float
    keep_for_s: float | None = None
    pinned: bool = False
    durable: str = ""
    resident: bool = True
    memory_s: float = 0.0
    durable_s: float = 0.0
    writing: bool = False


def prepare() -> None:
    """Begin to start what keeps values on this process's node, without waiting for it.

    The first `put` of a cluster's life would wait for that: a process of its own, which takes a second or two.

    Raises:
        NotConnected: if this process is connected to no cluster.
    """
    owners = Owners()
    owners.of(owners.here)


def put(
    name: str,
    value: Any,
    durable: str | None = None,
    keep_for: float | None = None,
    *,
    pinned: bool = False,
    write_behind: bool = False,
) -> Entry:
    """Keep a value on the cluster under a name, in place of the one that has it.

    Args:
        name: what later tasks of the group ask for.
        value: anything that pickles. The blocks of a Ray Dataset stay on the nodes where they are.
        durable: a URL (fsspec's) to also write it to. `put` returns once that copy is complete.
        keep_for: drop it once it was not used for so many seconds; None keeps it as long as its cluster.
        pinned: never drop it to make room for others.
        write_behind: return as soon as the value is in memory, and write the durable copy meanwhile. The lease is not
            given back, nor does the process end, before it is complete; the value is pinned as long. What does not
            fit is written at once.

    Returns:
        The entry; its `resident` is False if it did not fit and only the durable copy was made.

    Raises:
        ResidentFull: if it does not fit and no durable copy is named.
        NotConnected: if this process is connected to no cluster.
        DurableFailed: if the durable copy cannot be written. The value is resident nevertheless, if it fits, unless its
            URL is of a storage that this process cannot use.
        TypeError, pickle.PicklingError: if it cannot be pickled.
        ValueError: if there is nothing to write behind, or if the name or `keep_for` is none.
    """
    if write_behind and durable is None:
        raise ValueError("write_behind writes a durable copy: name one, as in put(..., durable='s3://bucket/key').")
    check(name, keep_for)
    began = time.perf_counter()
    owners = Owners()
    if durable is not None:
        copies.check(durable)
    kind = kind_of(value)
    if kind == DATASET:
        value = value.materialize()
    # What is told of a copy is there: until it is complete, memory is all that there is of the value.
    about: dict[str, Any] = {"kind": kind, "keep_for_s": keep_for, "pinned": pinned, "durable": ""}
    if write_behind:
        about |= {"keep_for_s": None, "pinned": True, "writing": True}
    try:
        packed = pack(value)
    except Exception as error:
        error.add_note(f"So {name!r} cannot be resident: what is kept must be pickled.")
        raise
    try:
        entry = _adopt_surely(owners, name, packed, about)
    except ResidentFull:
        if durable is None:
            raise
        entry = None
    adopted = time.perf_counter()
    if write_behind and durable is not None and entry is not None:
        made = Entry(**entry, memory_s=round(adopted - began, 4))

        def note(durable_s: float) -> None:
            note_written(made, durable_s, keep_for_s=keep_for, pinned=pinned, durable=durable)

        behind.begin(durable, lambda: copies.write(durable, value, kind), note)
        return made
    if durable is not None:
        try:
            copies.write(durable, value, kind)
        except Exception as error:
            raise DurableFailed(copies.unwritten(durable, error)) from error
    written = time.perf_counter()
    if durable is not None and entry is not None:
        there = owners.ask(owners.of(owners.here), "written", name, entry["put_at"], {"durable": durable})
        # It may have made room meanwhile.
        entry = entry | {"durable": durable} if there else None
    if entry is None:
        about |= {"keep_for_s": keep_for, "pinned": pinned, "durable": durable, "bytes": 0, "writing": False}
        entry = owners.ask(owners.of(owners.here), "adopt", name, [], about)
    return Entry(**entry, memory_s=round(adopted - began, 4), durable_s=round(written - adopted, 4))


def check(name: str, keep_for: float | None) -> None:
    """Check what a value is to be kept under, and for how long.

    Raises:
        ValueError: if it is no name, or no time.
    """
    if not isinstance(name, str) or not name or any(ord(one) < 32 or ord(one) == 127 for one in name):
        raise ValueError(f"A resident value has a name: text without control characters, and not {name!r}.")
    check_time("keep_for", keep_for)


def check_time(what: str, keep_for: object) -> None:
    """Check for how long a value is to be kept.

    Raises:
        ValueError: if it is no time.
    """
    if keep_for is not None and (not isinstance(keep_for, int | float) or not keep_for > 0):
        raise ValueError(f"{what} is a number of seconds above 0, or None, and not {keep_for!r}.")


def note_written(entry: Entry, durable_s: float, *, keep_for_s: float | None, pinned: bool, durable: str = "") -> None:
    """Tell a value's owner that its durable copy is complete: from now on it may be dropped as its author said."""
    owners = Owners()
    said = {"durable": durable, "durable_s": round(durable_s, 4), "keep_for_s": keep_for_s, "pinned": pinned}
    asked = owners.of(owners.here).written.remote(entry.name, entry.put_at, said | {"writing": False})
    owners.result(asked)


def get(name: str, durable: str | None = None) -> Any:
    """Return the value of a name. Its arrays are read-only views of shared memory.

    What is not in memory any more is read from its durable copy, and is resident again if there is room.

    Args:
        name: what it was put under.
        durable: URL of its durable copy, in case that this cluster does not know it.

    Raises:
        ResidentMissing: if there is neither the value nor a durable copy.
        NotConnected: if this process is connected to no cluster, and no durable copy is named.
    """
    import ray

    owners, why = None, "is not on this cluster"
    try:
        owners = Owners()
        found = _find(owners, name)
        if found is not None:
            entry, refs = found
            durable = durable or entry["durable"] or None
            if refs:
                held = owners.of(entry["node"]).copied.remote(refs[0]) if owners.afar else refs[0]
                pickled, buffers = ray.get(held, timeout=LOST_AFTER_S)
                value = unpack(pickled, buffers, refs[1:])
                near = entry["node"] == owners.here and not owners.afar
                _count(ReadFrom.LOCAL if near else ReadFrom.REMOTE)
                return value
    except NotConnected:
        if durable is None:
            raise
    except ray.exceptions.RayError as error:
        # Its node is gone, or the whole cluster.
        owners, why = None, f"was lost ({type(error).__name__})"
    if durable is None:
        _count(ReadFrom.MISSING)
        raise ResidentMissing(
            f"Resident value {name!r} {why}, and no durable copy of it is known: put it again, or name one."
        )
    behind.wait_for(durable)
    try:
        value = copies.read(durable)
    except Exception as error:
        # Each storage has errors of its own, and each format.
        _count(ReadFrom.MISSING)
        raise ResidentMissing(
            f"Resident value {name!r} {why}, and its durable copy {durable} cannot be read: {copies.said_by(error)}"
        ) from error
    _count(ReadFrom.DURABLE)
    if owners is not None:
        with suppress(ResidentError, ray.exceptions.RayError):
            kind = kind_of(value)
            if kind != DATASET:
                about = {"kind": kind, "keep_for_s": None, "pinned": False, "durable": durable}
                _adopt(owners, name, pack(value), about)
    return value


def list() -> builtins.list[Entry]:
    """Return what is resident on the cluster, by name.

    Raises:
        NotConnected: if this process is connected to no cluster.
    """
    return resident_now(BOUND_S)


def drop(*names: str) -> builtins.list[str]:
    """Drop values (all, if no names are given), and return the names of those that were there.

    Durable copies stay. Who uses a dropped value may go on.

    Raises:
        NotConnected: if this process is connected to no cluster.
    """
    owners = Owners()
    remembered.forget()
    asked = [owner.drop.remote([*names] or None) for owner in owners.others("")]
    return sorted({name for gone in owners.result(asked) for name in gone})


def resident_now(bound_s: float) -> builtins.list[Entry]:
    """Return what `list` does, within a time of the caller's."""
    owners = Owners()
    asked = [owner.all.remote() for owner in owners.others("")]
    entries = [Entry(**entry) for entries in owners.result(asked, bound_s) for entry in entries]
    return sorted(entries, key=lambda entry: entry.name)


def take_reads() -> dict[ReadFrom, int]:
    """Return from where reads were answered since the last call."""
    taken = _reads.copy()
    _reads.clear()
    return taken


def _count(source: ReadFrom) -> None:
    _reads[source] = _reads.get(source, 0) + 1


def _find(owners: Owners, name: str) -> tuple[dict[str, Any], builtins.list[Any]] | None:
    """Return a value's entry and references: remembered, or from this node's owner if it has it."""
    now = time.monotonic()
    known = remembered.find(name, now)
    own = owners.existing(owners.here)
    if known is not None:
        if known.to_tell(now) and own is not None:
            own.used.remote([name])
        return known.entry, known.refs
    found = owners.ask(own, "find", name) if own is not None else None
    if found is not None:
        entry, refs, shown = found
        if refs and shown is not None:
            remembered.remember(entry, refs, shown, now)
        return entry, refs
    asked = [owner.find.remote(name) for owner in owners.others(owners.here)]
    answers = [answer for answer in owners.result(asked) if answer is not None]
    newest = max(answers, key=lambda answer: answer[0]["put_at"], default=None)
    return newest[:2] if newest is not None else None


def _adopt_surely(owners: Owners, name: str, packed: Packed, about: dict[str, Any]) -> dict[str, Any]:
    """Do what `_adopt` does, again with another owner where one has died: the value is here, and nothing is lost."""
    import ray

    until = time.monotonic() + REPLACED_S
    while True:
        try:
            return _adopt(owners, name, packed, about)
        except ray.exceptions.RayActorError:
            # Its name is free only once Ray knows that it is dead.
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)


def _adopt(owners: Owners, name: str, packed: Packed, about: dict[str, Any]) -> dict[str, Any]:
    """Have the owners of this node, and of those where parts of it lie, own a value, and return its entry.

    Raises:
        ResidentFull: if one of them has no room.
    """
    import ray

    here = owners.here
    # What is remembered is in use, and takes room that its owner may have to make.
    used = remembered.forget()
    if used:
        owners.ask(owners.of(here), "used", used)
    lying: builtins.list[tuple[str, int]] = []
    if packed.refs:
        ray.wait(packed.refs, num_returns=len(packed.refs), fetch_local=False)
        lying = owners.ask(owners.of(here), "lying", packed.refs)
    sizes = {here: packed.size_bytes}
    for node, size_bytes in lying:
        sizes[node] = sizes.get(node, 0) + size_bytes
    for node, size_bytes in sizes.items():
        short = owners.ask(owners.of(node), "room", name, size_bytes)
        if short is not None:
            raise _full(name, size_bytes, short)
    refs: builtins.list[Any] = [None] * len(packed.refs)
    parts: dict[str, str] = {}
    for node in {node for node, _ in lying}:
        places = [place for place, (other, _) in enumerate(lying) if other == node]
        theirs = [packed.refs[place] for place in places]
        if node == here:
            owned = owners.ask(owners.of(here), "own", theirs)
        else:
            part = parts[PREFIX + node] = f"{name}#{uuid.uuid4().hex}"
            owned = owners.ask(owners.of(node), "keep_part", part, theirs, sizes[node])
        for place, ref in zip(places, owned, strict=True):
            refs[place] = ref
    held = ray.put([PickleBuffer(packed.pickled), packed.buffers])
    about = about | {"bytes": sizes[here], "parts": parts}
    entry: dict[str, Any] = owners.ask(owners.of(here), "adopt", name, [held, *refs], about)
    owners.result([owner.drop.remote([name]) for owner in owners.others(here)])
    return entry | {"bytes": sum(sizes.values())}


def _full(name: str, size_bytes: int, there: dict[str, int]) -> ResidentFull:
    return ResidentFull(
        f"{name!r} ({size_bytes:,} bytes) does not fit: of {there['store_bytes']:,} bytes of the node's object store "
        f"{there['used_bytes']:,} are in use, and resident data may take {there['budget_bytes']:,}, of which "
        f"{there['pinned_bytes']:,} are pinned. Drop other values, name a durable copy, or use a larger object store."
    )
