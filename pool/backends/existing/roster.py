"""Which clusters there are, and under which keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pool.backends.existing.options import Entry
from pool.backends.existing.report import Report
from pool.core.errors import InvalidKey
from pool.core.key import ClusterKey, describe, key_from, to_json
from pool.core.larger import covers
from pool.core.settings import NO_CEILING, PoolSettings, Rules, Standing


class Roster:
    """The entries of the configuration, each with its key as far as that is known."""

    def __init__(self, entries: Iterable[Entry], keys: dict[str, ClusterKey] | None = None) -> None:
        self.entries = {entry.name: entry for entry in entries}
        self.keys = dict(keys or {})
        for entry in self.entries.values():
            if entry.image and entry.shape is not None:
                self.keys[entry.name] = ClusterKey(entry.image, entry.shape, entry.tenant)

    def of(self, entries: Iterable[Entry]) -> Roster:
        """Return a roster of other entries; what is known of clusters that stay is kept."""
        new = {entry.name: entry for entry in entries}
        stay = {
            name: key
            for name, key in self.keys.items()
            if name in self.entries and name in new and new[name].same_cluster(self.entries[name])
        }
        return Roster(new.values(), stay)

    def learn(self, entry: Entry, report: Report) -> bool:
        """Take a cluster's report for its key, where the configuration leaves that open; tell whether it is new."""
        key = key_of(entry, report)
        if self.keys.get(entry.name) == key:
            return False
        self.keys[entry.name] = key
        return True

    def standing(self, key: ClusterKey) -> Standing:
        """Return how many clusters there are of exactly this key, and how they serve."""
        mine = [self.entries[name] for name, known in self.keys.items() if known.digest == key.digest]
        return Standing(
            clusters=len(mine),
            any_image=bool(mine) and all(not entry.image for entry in mine),
            readmit=bool(mine) and all(entry.readmit for entry in mine),
        )

    def over(self, rules: Rules) -> Rules:
        """Return rules in which no cluster is started or stopped: these are there."""

        def settings_for(key: ClusterKey) -> PoolSettings:
            return replace(
                rules.settings_for(key),
                standing=self.standing(key),
                ceiling=NO_CEILING,
                serve_larger=True,
                max_uses=0,
                max_lifetime_s=0.0,
                max_leases_per_cluster=1,
                # There is no quicker half of a reset here.
                group_rest_s=0.0,
            )

        return replace(rules, settings_for=settings_for, pinned=(*rules.pinned, *self.keys.values()))

    def check(self, key: ClusterKey) -> None:
        """Raise `InvalidKey` if none of the clusters can serve a key, as far as is known of them."""
        mine = [entry for entry in self.entries.values() if entry.tenant == key.tenant]
        if not mine:
            raise InvalidKey(
                f"key.tenant: the configuration names no cluster for {key.tenant}.",
                remedy="Ask for another tenant, or have the operator name a cluster for this one.",
            )
        known = [(entry, self.keys[entry.name]) for entry in mine if entry.name in self.keys]
        fitting = any(_fits(entry, have, key) for entry, have in known)
        if fitting or len(known) < len(mine):
            return
        said = "; ".join(f"{entry.name}: {have.image}, {describe(have.shape)}" for entry, have in known[:5])
        pods = any(node.pod for node in (key.shape.head, *(group.node for group in key.shape.workers)))
        raise InvalidKey(
            f"key: no cluster that the configuration names for {key.tenant} serves this"
            f"{', since pod templates, secrets and service accounts have no meaning there' if pods else ''}."
            f" There is {said}.",
            remedy="Ask for less, or for the image named.",
        )


def _fits(entry: Entry, have: ClusterKey, key: ClusterKey) -> bool:
    return have.digest == key.digest or (entry.image in ("", key.image) and covers(have.shape, key.shape))


def key_of(entry: Entry, report: Report) -> ClusterKey:
    """Return the key of a cluster: what the configuration says of it, else what it reports."""
    made = ClusterKey(entry.image or f"ray:{report.ray_version}", entry.shape or report.shape, entry.tenant)
    # Through its plain form, so that who writes the same by hand has the same key.
    return key_from(to_json(made))
