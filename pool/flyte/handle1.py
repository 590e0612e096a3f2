"""`Resident[T]` in flytekit's type system (Flyte 1)."""

from __future__ import annotations

import time
from typing import Any

from flytekit.core.context_manager import FlyteContext
from flytekit.core.type_engine import TypeEngine, TypeTransformer
from flytekit.models.literals import Literal
from flytekit.models.types import LiteralType

from pool.flyte.handle import Resident, given, inner, keep


class ResidentTransformer(TypeTransformer[Resident]):  # type: ignore[misc]  # flytekit has no types
    """Leaves everything to the transformer of ``T``, and keeps the value in memory beside it."""

    def __init__(self) -> None:
        super().__init__("Resident", Resident)

    def get_literal_type(self, t: Any) -> LiteralType:
        """Return the type of ``T``."""
        return TypeEngine.to_literal_type(inner(t))

    def to_literal(self, ctx: FlyteContext, python_val: Any, python_type: Any, expected: LiteralType) -> Literal:
        """Write Flyte's copy, then keep the value in memory."""
        value, began = python_val.get(), time.perf_counter()
        literal = TypeEngine.to_literal(ctx, value, inner(python_type), expected)
        python_val.durable_s = time.perf_counter() - began
        uri = uri_of(literal)
        if uri:
            keep(python_val, value, uri)
        return literal

    def to_python_value(self, ctx: FlyteContext, lv: Literal, expected_python_type: Any) -> Resident[Any]:
        """Return a handle; nothing is read before its `get`."""
        wanted = inner(expected_python_type)
        return given(uri_of(lv), lambda: TypeEngine.to_python_value(ctx, lv, wanted))


def uri_of(literal: Literal) -> str:
    """Return where Flyte's copy lies, empty if the literal holds the value itself."""
    scalar = literal.scalar
    for one in (scalar.structured_dataset, scalar.blob) if scalar is not None else ():
        if one is not None and one.uri:
            return str(one.uri)
    return ""


TypeEngine.register(ResidentTransformer())
