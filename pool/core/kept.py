"""What else than gaps and workflows is learned, and survives a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Kept(Protocol):
    """Something that is learned, in parts that have names. `pool.core.snapshot` makes rows of them."""

    unsaved: dict[str, None]
    """Names of the parts that have changed since they were last told."""

    def told(self, name: str) -> Sequence[Any] | None:
        """Return all of a part that a restart needs, as JSON has it; None if it is gone."""

    def recall(self, name: str, told: Sequence[Any], as_of: float) -> None:
        """Take over what was told of a part.

        Raises:
            ValueError, TypeError, IndexError: if it is not that.
        """
