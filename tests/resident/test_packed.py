"""Values taken apart and put together again: what is a buffer is shared, and nothing is copied into the pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pool.resident.packed import kind_of, pack, unpack

ROWS = 10_000
TABLE = pa.table({"a": np.arange(ROWS), "s": [str(n) for n in range(ROWS)]})


@pytest.mark.parametrize(
    ("value", "kind", "most_pickled"),
    [
        (np.arange(ROWS), "pickle", 500),
        (np.asfortranarray(np.arange(ROWS).reshape(100, 100)), "pickle", 500),
        (pd.DataFrame({"a": np.arange(ROWS), "b": np.arange(ROWS) / 2}), "pandas", 2000),
        (TABLE, "arrow", 2000),
        (pl.from_arrow(TABLE), "polars", 3000),
        ({"weights": [np.arange(ROWS)], "name": "x"}, "pickle", 500),
        ("x" * 10, "pickle", 100),
    ],
)
def test_a_value_comes_back_and_its_buffers_are_left_out_of_the_pickle(
    value: Any, kind: str, most_pickled: int
) -> None:
    assert kind_of(value) == kind
    packed = pack(value)
    assert len(packed.pickled) < most_pickled
    assert packed.size_bytes == len(packed.pickled) + sum(buffer.raw().nbytes for buffer in packed.buffers)
    back = unpack(packed.pickled, packed.buffers, packed.refs)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(back, value)
    elif isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(back, value)
    elif isinstance(value, dict):
        np.testing.assert_array_equal(back["weights"][0], value["weights"][0])
    else:
        assert back.equals(value) if hasattr(value, "equals") else back == value


def test_what_this_program_defines_comes_back_where_the_program_is_not() -> None:
    packed = pack(lambda x: x + 1)
    assert unpack(packed.pickled, packed.buffers, packed.refs)(1) == 2


def test_what_cannot_be_pickled_says_so() -> None:
    with pytest.raises(TypeError, match="pickle"):
        pack({"generator": (n for n in "x")})
