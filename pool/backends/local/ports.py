"""Free ports. Picked at random and tried; two who pick the same one at once are told apart by the bind that fails."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

_RAY_CLIENT_SERVERS = range(23_000, 24_000)
"""Ray's client proxy gives ports of this range to the servers that it starts."""

_random = random.SystemRandom()


class PortRange:
    """Hands out ports of a range, none twice while its cluster lives."""

    def __init__(self, port_range: tuple[int, int]) -> None:
        self._low, self._high = port_range
        self._taken: dict[str, set[int]] = {}

    def take(self, cluster_id: str, count: int) -> Iterator[int]:
        """Return so many ports that were free a moment ago.

        Raises:
            OSError: if no free port was found.
        """
        mine = self._taken.setdefault(cluster_id, set())
        taken = set().union(*self._taken.values())
        found: list[int] = []
        for _ in range(count * 200):
            if len(found) == count:
                break
            port = _random.randint(self._low, self._high)
            if port not in taken and port not in _RAY_CLIENT_SERVERS and _free(port):
                found.append(port)
                taken.add(port)
        if len(found) < count:
            raise OSError(f"found {len(found)} of {count} free ports in {self._low} to {self._high}")
        mine.update(found)
        return iter(found)

    def give_back(self, cluster_id: str) -> None:
        """The cluster is gone."""
        self._taken.pop(cluster_id, None)


def _free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Ray's own servers listen on every interface.
            tried.bind(("", port))
        except OSError:
            return False
    return True
