"""`Resident[T]` in the type system of Flyte 2's SDK."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flyte.types import TypeEngine, TypeTransformer

from pool.flyte.handle import Resident, given, inner, keep


class ResidentTransformer(TypeTransformer[Resident]):  # type: ignore[type-arg]
    """Leaves everything to the transformer of ``T``, and keeps the value in memory beside it."""

    def __init__(self) -> None:
        super().__init__("Resident", Resident)

    def get_literal_type(self, t: Any) -> Any:
        """Return the type of ``T``."""
        return TypeEngine.to_literal_type(inner(t))

    async def to_literal(self, python_val: Any, python_type: Any, expected: Any) -> Any:
        """Write Flyte's copy, then keep the value in memory."""
        value, began = python_val.get(), time.perf_counter()
        literal = await TypeEngine.to_literal(value, inner(python_type), expected)
        python_val.durable_s = time.perf_counter() - began
        uri = uri_of(literal)
        if uri:
            await asyncio.to_thread(keep, python_val, value, uri)
        return literal

    async def to_python_value(self, lv: Any, expected_python_type: Any) -> Resident[Any]:
        """Return a handle; nothing is read before its `get`."""
        wanted = inner(expected_python_type)
        return given(uri_of(lv), lambda: _alone(TypeEngine.to_python_value, lv, wanted))


def _alone(call: Any, *arguments: Any) -> Any:
    """Run a coroutine to its end on a thread of its own: the one that asks may be an event loop's."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(call(*arguments))).result()


def uri_of(literal: Any) -> str:
    """Return where Flyte's copy lies, empty if the literal holds the value itself."""
    scalar = literal.scalar
    return str(scalar.structured_dataset.uri or scalar.blob.uri)


TypeEngine.register(ResidentTransformer())
