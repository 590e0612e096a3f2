"""`Resident[T]` in flytekit's type system (Flyte 1)."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from flytekit.core.context_manager import FlyteContext
from flytekit.core.type_engine import TypeEngine, TypeTransformer
from flytekit.models.literals import Literal
from flytekit.models.types import LiteralType
from flytekit.types.structured.structured_dataset import StructuredDataset, StructuredDatasetTransformerEngine

from pool.flyte.handle import Resident, empty, given, inner, keep, keep_and_write_behind


class ResidentTransformer(TypeTransformer[Resident]):  # type: ignore[misc]  # flytekit has no types
    """Leaves everything to the transformer of ``T``, and keeps the value in memory beside it."""

    def __init__(self) -> None:
        super().__init__("Resident", Resident)

    def get_literal_type(self, t: Any) -> LiteralType:
        """Return the type of ``T``."""
        return TypeEngine.to_literal_type(inner(t))

    def to_literal(self, ctx: FlyteContext, python_val: Any, python_type: Any, expected: LiteralType) -> Literal:
        """Write Flyte's copy, then keep the value in memory; what came from another task has both."""
        if (there := python_val.literal_as(inner(python_type))) is not None:
            return there
        value, began = python_val.get(), time.perf_counter()
        if python_val.write_behind and (early := self._write_behind(ctx, python_val, value, python_type, expected)):
            return early
        literal = TypeEngine.to_literal(ctx, value, inner(python_type), expected)
        python_val.durable_s = time.perf_counter() - began
        python_val.note(durable_s=python_val.durable_s)
        uri = uri_of(literal)
        if uri:
            keep(python_val, value, uri)
        return literal

    def _write_behind(
        self, ctx: FlyteContext, handle: Resident[Any], value: Any, python_type: Any, expected: LiteralType
    ) -> Literal | None:
        """Return the literal of a copy that is still to be written, None if the value is not in memory.

        Raises:
            TypeError: if this cannot be told of such a value before it is written.
        """
        if expected.structured_dataset_type is None:
            raise TypeError(f"{python_type} cannot be written behind: write_behind is for frames.")

        def encoded(frame: Any, uri: str) -> Literal:
            dataset = StructuredDataset(dataframe=frame, uri=uri)
            return StructuredDatasetTransformerEngine().to_literal(ctx, dataset, StructuredDataset, expected)

        uri = ctx.file_access.get_random_remote_directory()
        with tempfile.TemporaryDirectory() as place:
            # What the literal of the whole says besides where that is.
            literal: Literal = encoded(empty(value), place)
        literal.scalar.structured_dataset._uri = uri
        kept = keep_and_write_behind(handle, value, uri, lambda: encoded(value, uri) and None)
        return literal if kept else None

    def to_python_value(self, ctx: FlyteContext, lv: Literal, expected_python_type: Any) -> Resident[Any]:
        """Return a handle; nothing is read before its `get`."""
        wanted = inner(expected_python_type)
        handle = given(uri_of(lv), lambda: TypeEngine.to_python_value(ctx, lv, wanted))
        handle.came_as(lv, wanted)
        return handle


def uri_of(literal: Literal) -> str:
    """Return where Flyte's copy lies, empty if the literal holds the value itself."""
    scalar = literal.scalar
    for one in (scalar.structured_dataset, scalar.blob) if scalar is not None else ():
        if one is not None and one.uri:
            return str(one.uri)
    return ""


TypeEngine.register(ResidentTransformer())
