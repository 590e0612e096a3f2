"""A value as its pickle, its buffers and the objects of Ray that it refers to: each is kept where it can be shared.

The buffers are not copied into the pickle (protocol 5): whoever unpickles gets arrays that lie in shared memory.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

ARROW, DATASET, PANDAS, PICKLE, POLARS = "arrow", "dataset", "pandas", "pickle", "polars"
FRAMES = frozenset((ARROW, PANDAS, POLARS))

_KINDS = {
    ("pandas", "DataFrame"): PANDAS,
    ("polars", "DataFrame"): POLARS,
    ("pyarrow", "Table"): ARROW,
    ("ray", "Dataset"): DATASET,
    ("ray", "MaterializedDataset"): DATASET,
}


@dataclass(frozen=True)
class Packed:
    """A value, taken apart.

    Attributes:
        pickled: its pickle.
        buffers: what the pickle leaves out.
        refs: the `ray.ObjectRef` in it, which the pickle names by their place here.
    """

    pickled: bytes
    buffers: list[pickle.PickleBuffer]
    refs: list[Any]

    @property
    def size_bytes(self) -> int:
        """Size of pickle and buffers."""
        return len(self.pickled) + sum(buffer.raw().nbytes for buffer in self.buffers)


def kind_of(value: object) -> str:
    """Return which kind of value it is: a frame, a Dataset, or what can only be pickled."""
    cls = type(value)
    return _KINDS.get((cls.__module__.partition(".")[0], cls.__name__), PICKLE)


def pack(value: object) -> Packed:
    """Take a value apart.

    Raises:
        TypeError, pickle.PicklingError: if it cannot be pickled.
    """
    import ray

    buffers: list[pickle.PickleBuffer] = []
    refs: list[Any] = []
    places: dict[Any, int] = {}

    # What Ray can pickle, this can: functions and classes of the main program too.
    rays_own: Any = ray.cloudpickle.CloudPickler

    class Pickler(rays_own):  # type: ignore[misc]
        def persistent_id(self, held: object) -> int | None:
            if not isinstance(held, ray.ObjectRef):
                return None
            if held not in places:
                places[held] = len(refs)
                refs.append(held)
            return places[held]

        def reducer_override(self, held: Any) -> Any:
            if kind_of(held) == POLARS:
                # Its own pickle is a copy; its Arrow buffers are shared.
                return import_polars().from_arrow, (held.to_arrow(),)
            return super().reducer_override(held)

    stream = io.BytesIO()
    pickler: Any = Pickler(stream, protocol=5, buffer_callback=buffers.append)
    pickler.dump(value)
    return Packed(stream.getvalue(), buffers, refs)


def unpack(pickled: Any, buffers: Sequence[Any], refs: Sequence[Any]) -> Any:
    """Put a value together again. Its arrays are read-only views of the buffers."""
    unpickler = _Unpickler(io.BytesIO(pickled), buffers=buffers)
    unpickler.refs = refs
    return unpickler.load()


class _Unpickler(pickle.Unpickler):
    refs: Sequence[Any]

    def persistent_load(self, place: int) -> Any:
        return self.refs[place]


def import_polars() -> Any:
    """Return polars, which is there if a frame of it is."""
    return import_module("polars")
