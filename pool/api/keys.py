"""From the key of a message to a normalised cluster key, remembered: normalising is the costly part of an acquire."""

from __future__ import annotations

from collections import OrderedDict

from pool.core.key import ClusterKey, key_from
from pool.wire.key import KeySpec

_LONGEST_TEXT = 16_384


class Keys:
    """Remembers the keys that were asked for last, by their text."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._known: OrderedDict[str, ClusterKey] = OrderedDict()

    def key(self, spec: KeySpec) -> ClusterKey:
        """Return the normalised key.

        Raises:
            pool.core.errors.InvalidKey: naming the field.
        """
        text = spec.model_dump_json()
        known = self._known.get(text)
        if known is not None:
            return known
        data = spec.model_dump()
        for group in data["shape"]["workers"]:
            for name in ("min_replicas", "max_replicas"):
                if group[name] is None:
                    del group[name]
        key = key_from(data)
        _ = key.digest
        if len(text) <= _LONGEST_TEXT:
            # The oldest goes, used or not: keeping the order of use would cost more than making a key again.
            self._known[text] = key
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return key
