"""Durable copies of values: where a value is read from when no cluster has it. fsspec finds the storage by its URL.

Frames are Parquet, a Ray Dataset is a directory of Parquet files, anything else is a pickle. A copy is there only
when it is complete.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pool.resident.errors import DurableFailed
from pool.resident.packed import ARROW, DATASET, FRAMES, PANDAS, POLARS, import_polars

_KIND = b"warmpool.kind"
_MAGIC = b"PAR1"
_CURRENT = "_warmpool"
"""The file in a Dataset's directory that names which of its directories is the complete one."""


def check(url: str) -> None:
    """Check that this process can use the storage that a URL names; whether it can write there is not tried.

    Raises:
        DurableFailed: if it cannot.
    """
    try:
        _storage(url)
    except Exception as error:
        raise DurableFailed(unwritten(url, error)) from error


def unwritten(url: str, error: Exception) -> str:
    """Return the sentence that a copy could not be written."""
    return f"The durable copy {url} could not be written: {said_by(error)}"


def said_by(error: Exception) -> str:
    """Return what an error says; where that is nobody's sentence, with what kind of error it is."""
    said = " ".join(str(error).split())
    return said if isinstance(error, OSError | ValueError) and said else f"{type(error).__name__}: {said}"


def write(url: str, value: Any, kind: str) -> None:
    """Write a durable copy, in place of the one that is there.

    Args:
        url: of fsspec: ``s3://bucket/key``, ``/shared/path``.
        value: what to write.
        kind: as `pool.packed.kind_of` tells.

    Raises:
        OSError, ImportError: if the storage cannot be written to.
        TypeError, pickle.PicklingError: if the value cannot be pickled.
    """
    fs, path = _storage(url)
    if kind == DATASET:
        part = f"part-{uuid.uuid4().hex}"
        value.write_parquet(f"{url.rstrip('/')}/{part}")
        before = _current(fs, path)
        with _whole(fs, f"{path}/{_CURRENT}") as file:
            file.write(part.encode())
        if before:
            fs.rm(f"{path}/{before}", recursive=True)
        return
    save = _as_parquet(value, kind) if kind in FRAMES else None
    with _whole(fs, path) as file:
        if save is not None:
            save(file)
        else:
            cloudpickle: Any = import_module("ray.cloudpickle")
            cloudpickle.dump(value, file, protocol=5)


def read(url: str) -> Any:
    """Return what a durable copy holds, as the kind of value that was written.

    Other Parquet files come as pandas or Arrow, by what their writer noted.

    Raises:
        OSError, ImportError: if there is none, or the storage cannot be read.
    """
    fs, path = _storage(url)
    if fs.isdir(path):
        import ray.data

        part = _current(fs, path)
        return ray.data.read_parquet(f"{url.rstrip('/')}/{part}" if part else url)
    with fs.open(path, "rb") as file:
        magic = file.read(len(_MAGIC))
        file.seek(0)
        if magic != _MAGIC:
            return pickle.load(file)  # noqa: S301 - the author names what he trusts
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(file)
    noted = table.schema.metadata or {}
    kind = noted.get(_KIND, PANDAS.encode() if b"pandas" in noted else ARROW.encode()).decode()
    if kind == PANDAS:
        return table.to_pandas()
    own = {name: said for name, said in noted.items() if name != _KIND}
    table = table.replace_schema_metadata(own or None)
    return import_polars().from_arrow(table) if kind == POLARS else table


def _as_parquet(value: Any, kind: str) -> Callable[[Any], None] | None:
    """Return what writes a frame as Parquet; None for one that only a pickle can hold."""
    import pyarrow
    import pyarrow.parquet

    try:
        if kind == PANDAS:
            value = pyarrow.Table.from_pandas(value)
        table = value.to_arrow() if kind == POLARS else value
    except pyarrow.ArrowException:
        return None
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _KIND: kind.encode()})
    return lambda file: pyarrow.parquet.write_table(table, file)


def _storage(url: str) -> tuple[Any, str]:
    import fsspec

    # Not one that others use too: a transaction is of the whole instance.
    fs, path = fsspec.core.url_to_fs(url, skip_instance_cache=True)
    return fs, str(path)


def _current(fs: Any, path: str) -> str:
    try:
        return str(fs.cat_file(f"{path}/{_CURRENT}").decode())
    except FileNotFoundError:
        return ""


@contextmanager
def _whole(fs: Any, path: str) -> Iterator[Any]:
    """Write a file that is there only once all of it is."""
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if "file" in protocols:
        # Beside the file: a rename is at once only within one file system.
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        begun = final.with_name(f"{final.name}.{uuid.uuid4().hex}.part")
        try:
            with begun.open("wb") as local:
                yield local
            begun.replace(final)
        finally:
            begun.unlink(missing_ok=True)
        return
    # An object store shows an object once it is closed: what failed half-way is not to be seen.
    with fs.transaction, fs.open(path, "wb") as file:
        yield file
