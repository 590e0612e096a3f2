"""`Resident[T]` in the type system of Flyte 2's SDK."""

from __future__ import annotations

import asyncio
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from flyte._context import internal_ctx
from flyte.types import TypeEngine, TypeTransformer

from pool.flyte.handle import Resident, empty, given, inner, keep, keep_and_write_behind


class ResidentTransformer(TypeTransformer[Resident]):  # type: ignore[type-arg]
    """Leaves everything to the transformer of ``T``, and keeps the value in memory beside it."""

    def __init__(self) -> None:
        super().__init__("Resident", Resident)

    def get_literal_type(self, t: Any) -> Any:
        """Return the type of ``T``."""
        return TypeEngine.to_literal_type(inner(t))

    async def to_literal(self, python_val: Any, python_type: Any, expected: Any) -> Any:
        """Write Flyte's copy, then keep the value in memory; what came from another task has both."""
        if (there := python_val.literal_as(inner(python_type))) is not None:
            return there
        value, began = python_val.get(), time.perf_counter()
        if python_val.write_behind:
            early = await self._write_behind(python_val, value, python_type, expected)
            if early is not None:
                return early
        literal = await TypeEngine.to_literal(value, inner(python_type), expected)
        python_val.durable_s = time.perf_counter() - began
        python_val.note(durable_s=python_val.durable_s)
        uri = uri_of(literal)
        if uri:
            await asyncio.to_thread(keep, python_val, value, uri)
        return literal

    async def _write_behind(self, handle: Resident[Any], value: Any, python_type: Any, expected: Any) -> Any:
        """Return the literal of a copy that is still to be written, None if the value is not in memory.

        Raises:
            TypeError: if this cannot be told of such a value before it is written.
        """
        from flyte.io import DataFrame

        if not expected.HasField("structured_dataset_type"):
            raise TypeError(f"{python_type} cannot be written behind: write_behind is for frames.")
        uri = str(internal_ctx().raw_data.get_random_remote_path())
        with tempfile.TemporaryDirectory() as place:
            # What the literal of the whole says besides where that is.
            part = DataFrame.wrap_df(empty(value), uri=place)
            literal = await TypeEngine.to_literal(part, DataFrame, expected)
        literal.scalar.structured_dataset.uri = uri

        def write() -> None:
            _alone(TypeEngine.to_literal, DataFrame.wrap_df(value, uri=uri), DataFrame, expected)

        within = copy_context()
        kept = await asyncio.to_thread(keep_and_write_behind, handle, value, uri, lambda: within.run(write))
        return literal if kept else None

    async def to_python_value(self, lv: Any, expected_python_type: Any) -> Resident[Any]:
        """Return a handle; nothing is read before its `get`."""
        wanted = inner(expected_python_type)
        handle = given(uri_of(lv), lambda: _alone(TypeEngine.to_python_value, lv, wanted))
        handle.came_as(lv, wanted)
        return handle


def _alone(call: Any, *arguments: Any) -> Any:
    """Run a coroutine to its end on a thread of its own: the one that asks may be an event loop's."""
    within = copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(within.run, lambda: asyncio.run(call(*arguments))).result()


def uri_of(literal: Any) -> str:
    """Return where Flyte's copy lies, empty if the literal holds the value itself."""
    scalar = literal.scalar
    return str(scalar.structured_dataset.uri or scalar.blob.uri)


TypeEngine.register(ResidentTransformer())
