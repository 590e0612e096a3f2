"""The owner of a node's resident data: an actor, sent into the cluster by value, whose objects outlive every job.

Ray frees an object when the process that put it ends. So the owner puts each value again, inside itself, and keeps
the reference. Until it has, it looks at the memory of the first copy: the store frees nothing that a process looks at,
also when who put it has ended. So nobody waits for the second copy but who asks for the value before it is made.

Of a value it sees the pickle and the buffers alone: it needs none of the holder's code. It imports the standard library
and, inside functions, Ray.
"""

from __future__ import annotations

import os
import threading
import time
from importlib import import_module
from pickle import PickleBuffer
from typing import Any

from pool.inside.version import Version

NAMESPACE = "_ray_internal_warmpool_resident"
"""Ray counts nothing in such a namespace as a holder's activity."""
PREFIX = "resident-"
"""An owner's name is this and the id of its node."""

SHARE_VARIABLE = "WARMPOOL_RESIDENT_SHARE"
"""How much of a node's object store resident data may take: in the environment of the cluster's processes."""
SHARE = 0.5
"""The same where nobody says it; the rest is for what tasks do."""

SPILLS_AT = 0.8
"""Ray begins to spill when so much of a store is in use (its `object_spilling_threshold`)."""
COPIES = 2
"""While a value is adopted, the process that put it still has its own copy in the store."""
FREED_S = 1.5
"""Ray frees what nobody refers to any more within a second."""
PAUSE_S = 0.05
TIMEOUT_S = 5.0

AT_ONCE_BYTES = 1_000_000
"""What is smaller is copied while the process that put it waits: to begin a thread would take longer."""

INLINE_BYTES = 100 << 10
"""What is larger is in a store (Ray's `max_direct_call_object_size`)."""
LOCATED_S = 2.0
"""So long it is waited for Ray to know in which."""


class ResidentOwner:
    """Owns the resident values of one node, within a budget. Several calls may run at the same time.

    Args:
        share: of the node's object store that resident data may take, 0 to 1, unless the cluster's own environment
            says it.
    """

    def __init__(self, share: float) -> None:
        self.share = float(os.environ.get(SHARE_VARIABLE) or share)
        self._version = Version()
        self._kept: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._stats: Any = None
        threading.Thread(target=self._expire_forever, name="keep_for", daemon=True).start()

    # --- what drivers ask ---

    def room(self, name: str, size_bytes: int) -> dict[str, int] | None:
        """Make room for a value, from the least recently used on.

        Args:
            name: of the value; the one that it replaces goes first.
            size_bytes: of the value.

        Returns:
            None if there is room, else what there is: ``budget_bytes``, ``pinned_bytes``, ``store_bytes``,
            ``used_bytes``.
        """
        store_bytes, used_bytes = self._store()
        budget = int(self.share * store_bytes)
        need, most = COPIES * size_bytes, int(SPILLS_AT * store_bytes)
        with self._changed:
            stays = sum(entry["bytes"] for key, entry in self._kept.items() if _stays(entry) and key != name)
            there = {"budget_bytes": budget, "pinned_bytes": stays, "store_bytes": store_bytes}
            if stays + size_bytes > budget or need > most:
                return there | {"used_bytes": used_bytes}
            total = sum(entry["bytes"] for entry in self._kept.values())
            for key in self._oldest_first(name):
                if total + size_bytes <= budget:
                    break
                total -= self._evict(key)
        while (missing := self._missing(used_bytes, need, most)) > 0:
            # It is in use, and by nothing that goes by itself.
            with self._changed:
                oldest = self._oldest_first(name)
                if not oldest:
                    return there | {"used_bytes": self._store()[1]}
                freed = 0
                for key in oldest:
                    if freed >= missing:
                        break
                    freed += self._evict(key)
            used_bytes = self._store()[1]
        return None

    def _missing(self, used_bytes: int, need: int, most: int) -> int:
        """Return how much room is missing in the store, once what is on its way out had time to go; 0 for none.

        Args:
            used_bytes: of the store, just now.
            need: how much is wanted, bytes.
            most: how much may be in use, bytes.
        """
        end = time.monotonic() + FREED_S
        while (missing := used_bytes + need - most) > 0:
            if time.monotonic() > end:
                return missing
            time.sleep(PAUSE_S)
            used_bytes = self._store()[1]
        return 0

    def adopt(self, name: str, given: list[Any], about: dict[str, Any]) -> dict[str, Any]:
        """Own a value under a name, in place of the one that has it.

        Args:
            name: of the value.
            given: references: to its packed form, a pickle and its buffers, and to what else it refers to, which is
                owned already. Empty if it is to be read from its durable copy alone.
            about: ``bytes``, ``kind``, ``pinned``, ``durable``, ``keep_for_s`` (None for no end), and ``parts``: what
                other nodes' owners keep of it, as {owner: name there}.
        """
        import ray

        now = time.time()
        node = ray.get_runtime_context().get_node_id()
        entry = about | {"name": name, "node": node, "put_at": now, "used_at": now, "refs": list(given)}
        if given:
            entry |= {"seen": ray.get(given[0]), "copying": threading.Lock()}
            if entry["bytes"] < AT_ONCE_BYTES:
                self._copy(entry)
            else:
                # Not before who put it has the answer: it would wait for the second copy after all.
                later = threading.Timer(PAUSE_S, self._copy_if_kept, (entry,))
                later.daemon = True
                later.start()
        with self._changed:
            before = self._kept.pop(name, None)
            self._kept[name] = entry
            self._version.rise()
            self._changed.notify()
        if before is not None:
            self._drop_parts(before)
        return _told(entry)

    def _copy_if_kept(self, entry: dict[str, Any]) -> None:
        """Put the value that an entry has seen, unless it was dropped or replaced meanwhile."""
        if self._kept.get(entry["name"]) is entry:
            self._copy(entry)

    def _copy(self, entry: dict[str, Any]) -> None:
        """Put the value that an entry has seen, unless that was done: afterwards its references are this process's."""
        import ray

        with entry["copying"]:
            if "seen" not in entry:
                return
            # The buffers stay where they are in shared memory: they are copied once, into the object that is put.
            pickled, views = entry["seen"]
            own = ray.put([PickleBuffer(pickled), [PickleBuffer(view) for view in views]])
            with self._changed:
                entry["refs"] = [own, *entry["refs"][1:]]
                del entry["seen"]

    def own(self, refs: list[Any]) -> list[Any]:
        """Put again what the references refer to, and return the new ones."""
        import ray

        return [ray.put(ray.get(ref)) for ref in refs]

    def lying(self, refs: list[Any]) -> list[tuple[str, int]]:
        """Return for each object, which is there, on which node its owner shall be, and its size in bytes."""
        import ray

        here = ray.get_runtime_context().get_node_id()
        known = ray.experimental.get_object_locations(refs)
        end = time.monotonic() + LOCATED_S
        # A task may be over before its node has told where what it returned lies: supposed to be here, it would be
        # fetched from there.
        while any(map(_lies_somewhere, known.values())) and time.monotonic() < end:
            time.sleep(PAUSE_S / 5)
            known = ray.experimental.get_object_locations(refs)
        found = []
        for ref in refs:
            nodes = known[ref]["node_ids"]
            # A small object is in no store, but with its owner.
            found.append((here if here in nodes or not nodes else nodes[0], known[ref]["object_size"] or 0))
        return found

    def copied(self, held: list[Any]) -> list[Any]:
        """Return a value's packed form as plain bytes: Ray Client cannot send what lies in shared memory."""
        pickled, views = held
        return [bytes(pickled), [bytes(view) for view in views]]

    def keep_part(self, part: str, refs: list[Any], size_bytes: int) -> list[Any]:
        """Own what lies here of a value that another node's owner has; it goes when that one says so."""
        owned = self.own(refs)
        entry = {"name": part, "bytes": size_bytes, "part": True, "refs": owned}
        with self._changed:
            self._kept[part] = entry
        return owned

    def find(self, name: str) -> tuple[dict[str, Any], list[Any], dict[str, Any] | None] | None:
        """Return a value's description, its references, and by what on this node it can be told that both still hold.

        There are no references if it is to be read from its durable copy.
        """
        with self._changed:
            entry = self._kept.get(name)
            if entry is None or entry.get("part"):
                return None
            if any(not _lives(owner) for owner in entry.get("parts") or {}):
                # What lay on a lost node is gone, and with it the value.
                self._evict(name)
                entry = self._kept.get(name)
                if entry is None:
                    return None
            entry["used_at"] = time.time()
            # Of now: who remembers what is found is to see what changes while it is copied.
            version = self._version.told()
        if "copying" in entry:
            self._copy(entry)
        return _told(entry), entry["refs"], version

    def used(self, names: list[str]) -> None:
        """Note that values were used just now by who remembered them."""
        with self._changed:
            for name in names:
                if name in self._kept:
                    self._kept[name]["used_at"] = time.time()

    def written(self, name: str, put_at: float, said: dict[str, Any]) -> bool:
        """Note that a value's durable copy is complete, and tell whether the name still has that value.

        Args:
            name: of the value.
            put_at: when that value was put.
            said: what is to be noted of it: ``durable``, ``durable_s``, ``pinned``.
        """
        with self._changed:
            entry = self._kept.get(name)
            there = entry is not None and entry.get("put_at") == put_at
            if entry is not None and there:
                entry.update(said)
                self._version.rise()
                # How long it is kept may be among it.
                self._changed.notify()
            return there

    def all(self) -> list[dict[str, Any]]:
        """Return the descriptions of all values."""
        with self._changed:
            return [_told(entry) for entry in self._kept.values() if not entry.get("part")]

    def drop(self, names: list[str] | None) -> list[str]:
        """Forget values (all for None), and return the names of those that were here."""
        with self._changed:
            asked = [*self._kept] if names is None else names
            gone = {name: self._kept.pop(name) for name in asked if name in self._kept}
            if gone:
                self._version.rise()
        for entry in gone.values():
            self._drop_parts(entry)
        return [name for name, entry in gone.items() if not entry.get("part")]

    # --- keeping ---

    def _oldest_first(self, name: str) -> list[str]:
        """Return the names that may be evicted, the one that is replaced first."""
        may = [key for key, entry in self._kept.items() if entry["refs"] and (key == name or not _stays(entry))]
        return sorted(may, key=lambda key: (key != name, self._kept[key]["used_at"]))

    def _evict(self, name: str) -> int:
        entry = self._kept[name]
        self._version.rise()
        if entry["durable"]:
            # Whoever asks is told where it can be read.
            self._kept[name] = _about(entry) | {"refs": [], "bytes": 0, "parts": {}}
        else:
            del self._kept[name]
        self._drop_parts(entry)
        return int(entry["bytes"])

    def _drop_parts(self, entry: dict[str, Any]) -> None:
        import ray

        for owner, part in (entry.get("parts") or {}).items():
            try:
                ray.get_actor(owner, NAMESPACE).drop.remote([part])
            except ValueError:
                # Its node is gone, and the part with it.
                continue

    def _expire_forever(self) -> None:
        with self._changed:
            while True:
                now = time.time()
                ends = {
                    name: entry["used_at"] + entry["keep_for_s"]
                    for name, entry in self._kept.items()
                    if entry.get("keep_for_s") is not None and entry["refs"]
                }
                for name, end in ends.items():
                    if end <= now:
                        self._evict(name)
                soonest = min((end for end in ends.values() if end > now), default=None)
                self._changed.wait(None if soonest is None else soonest - now + PAUSE_S)

    def _store(self) -> tuple[int, int]:
        """Return the size of the node's object store and how much of it is in use, bytes."""
        messages = import_module("ray.core.generated.node_manager_pb2")
        if self._stats is None:
            # Opened once: to open a channel takes longer than all else that a `put` asks for.
            self._stats = self._raylet().GetNodeStats
        asked = messages.GetNodeStatsRequest(include_memory_info=False)
        stats = self._stats(asked, timeout=TIMEOUT_S).store_stats
        return int(stats.object_store_bytes_avail), int(stats.object_store_bytes_used)

    def _raylet(self) -> Any:
        """Return what asks the node's raylet, whose end is this process's too."""
        import ray
        from ray._private.grpc_utils import init_grpc_channel

        services = import_module("ray.core.generated.node_manager_pb2_grpc")
        node_id = ray.get_runtime_context().get_node_id()
        every: Any = ray.nodes
        [node] = [node for node in every() if node["NodeID"] == node_id]
        # A proxy is for the world, not for the cluster.
        channel = init_grpc_channel(
            f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}", options=[("grpc.enable_http_proxy", 0)]
        )
        return services.NodeManagerServiceStub(channel)


def _lives(owner: str) -> bool:
    """Tell whether there is an owner of this name."""
    import ray

    try:
        ray.get_actor(owner, NAMESPACE)
    except ValueError:
        return False
    return True


def _lies_somewhere(told: dict[str, Any]) -> bool:
    """Tell whether an object is in the store of a node that is not known yet; what was spilled may be in none."""
    return not told["node_ids"] and not told["did_spill"] and (told["object_size"] or 0) > INLINE_BYTES


def _stays(entry: dict[str, Any]) -> bool:
    """Tell whether a value is never dropped for room."""
    return bool(entry.get("pinned") or entry.get("part"))


def _about(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what an entry says of its value, without what it holds of it."""
    return {name: value for name, value in entry.items() if name not in ("refs", "parts", "seen", "copying")}


def _told(entry: dict[str, Any]) -> dict[str, Any]:
    return _about(entry) | {"resident": bool(entry["refs"])}
