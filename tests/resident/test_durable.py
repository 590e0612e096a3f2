"""Durable copies: as what they are written, that they are whole, and what comes back."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pool.resident import durable
from pool.resident.packed import kind_of

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index([7, 8], name="i"))


def same(one: Any, other: Any) -> bool:
    return bool(one.equals(other)) if hasattr(one, "equals") else bool(np.array_equal(one, other))


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "copy") if request.param == "file" else f"memory://{uuid.uuid4().hex}/copy"


@pytest.mark.parametrize(
    "value", [FRAME, pa.table({"a": [1, 2]}), pl.DataFrame({"a": [1.5]}), np.arange(3), {"a": {1, 2}}]
)
def test_what_is_written_is_read_as_the_same_kind(url: str, value: Any) -> None:
    for _ in range(2):
        durable.write(url, value, kind_of(value))
    back = durable.read(url)
    assert type(back) is type(value)
    assert same(back, value)
    with fsspec.open(url) as file:
        assert (file.read(4) == b"PAR1") == (kind_of(value) != "pickle")


def test_a_frame_that_arrow_cannot_hold_is_a_pickle(url: str) -> None:
    frame = pd.DataFrame({"mixed": [1, "x", {2, 3}]})
    durable.write(url, frame, "pandas")
    pd.testing.assert_frame_equal(durable.read(url), frame)


def test_parquet_of_others_is_read_too(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "frame")
    pd.testing.assert_frame_equal(durable.read(str(tmp_path / "frame")), FRAME)


class Unwritable:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


def test_what_fails_half_way_leaves_nothing_and_the_copy_before_stays(url: str) -> None:
    durable.write(url, "before", "pickle")
    with pytest.raises(ZeroDivisionError):
        durable.write(url, [b"x" * 10_000_000, Unwritable()], "pickle")
    assert durable.read(url) == "before"
    fs, path = fsspec.core.url_to_fs(url)
    assert len(fs.ls(fs._parent(path))) == 1


def test_a_copy_that_is_not_there_is_an_os_error(url: str) -> None:
    with pytest.raises(FileNotFoundError):
        durable.read(url)
