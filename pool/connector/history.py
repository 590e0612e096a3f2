"""Which modules the tasks of an image import: what a warm interpreter learned serves those of the next clusters too.

It is known here alone, and taken up again from what interpreters that run tell with each task's end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

MOST_IMAGES = 100
MOST_MODULES = 100
NAMED = 20


class History:
    """Counts tasks by the modules that they import, for each image. Bounded: what comes later is not counted."""

    def __init__(self) -> None:
        self._images: dict[str, Counter[str]] = {}

    def heard(self, image: str, names: Iterable[str]) -> None:
        """Count what a task imported. The image that was heard of longest ago makes place for another."""
        counts = self._images.pop(image, Counter())
        for name in names:
            if name in counts or len(counts) < MOST_MODULES:
                counts[name] += 1
        self._images[image] = counts
        if len(self._images) > MOST_IMAGES:
            del self._images[next(iter(self._images))]

    def names(self, image: str) -> list[str]:
        """Return what tasks of an image import, the most common first."""
        return [name for name, _ in self._images.get(image, Counter()).most_common(NAMED)]
