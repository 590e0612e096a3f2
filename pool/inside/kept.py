"""How a task finds what the warm interpreter has imported for it: as if it were not imported, and at once when it is.

Only where its own path leads to the same file, and that file has not changed: a task's own module of the same name,
and one that it installs first, are its own.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from pool.inside.imports import file_of


class Kept:
    """Finds modules, before all others that do.

    Attributes:
        found: what the task has imported of them.
    """

    def __init__(self, files: Mapping[str, tuple[int, ...]], reads: Mapping[str, Iterable[str]]) -> None:
        """Take modules away from this process, to give them back when they are imported.

        Args:
            files: which file each was, by top-level name.
            reads: which variables each read as it was imported.
        """
        self.found: list[str] = []
        self._files = files
        self._modules: dict[str, dict[str, ModuleType]] = {name: {} for name in files}
        for name in list(sys.modules):
            top = name.partition(".")[0]
            if top in self._modules:
                self._modules[top][name] = sys.modules.pop(name)
        self._read = {top: {one: os.environ.get(one) for one in reads.get(top, ())} for top in self._modules}
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return how to load a module, as the import system asks; None to leave it to the others."""
        kept = self._modules.pop(name, {}) if path is None else {}
        if name not in kept:
            return None
        found, spec = importlib.machinery.PathFinder.find_spec(name), kept[name].__spec__
        same = found is not None and spec is not None and found.origin == spec.origin
        if not same or file_of(kept[name]) != self._files[name]:
            return None
        changed = [one for one, value in self._read[name].items() if os.environ.get(one) != value]
        if changed:
            if all(_is_text(module) for module in kept.values()):
                return None
            # What is compiled often cannot be loaded twice.
            print(f"{name} was imported before {changed[0]} was set: say that in the task's environment.", flush=True)
        self.found.append(name)
        giving: Any = Giving(kept)
        return importlib.util.spec_from_loader(name, giving)


class Giving:
    """Loads what is loaded."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = modules
        self._spec: Any = None

    def create_module(self, spec: Any) -> ModuleType:
        """Return the module, as the import system asks."""
        module = self._modules[spec.name]
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give it back as it was, with all that is in it."""
        module.__spec__ = self._spec
        sys.modules.update(self._modules)


def _is_text(module: ModuleType) -> bool:
    origin = getattr(module.__spec__, "origin", None)
    return origin is None or str(origin).endswith(".py")
