"""Copies that are written behind: waited for by who needs them, and a failure is told once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pool.client.residency import copies_written
from pool.resident import DurableFailed, behind


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    behind.finish()


def test_who_needs_a_copy_waits_for_it_and_whoever_does_not_goes_on() -> None:
    go, said = threading.Event(), []
    writing = behind.begin("one", lambda: go.wait(10) and None, said.append)
    behind.wait_for("another")
    assert behind.pending()
    assert not writing.done
    go.set()
    behind.wait_for("one")
    assert not behind.pending()
    assert said == [writing.durable_s]
    assert copies_written() is None


def test_a_copy_that_cannot_be_written_is_told_to_who_reads_it_and_to_who_gives_the_lease_back() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    behind.begin("one", fail)
    behind.settle()
    with pytest.raises(DurableFailed, match="copy one could not be written: the disk is full"):
        behind.wait_for("one")
    assert isinstance(copies_written(), DurableFailed)
    assert copies_written() is None


def test_a_cluster_that_does_not_hear_of_it_takes_nothing_from_a_copy() -> None:
    def lost(durable_s: float) -> None:
        raise ConnectionError("the cluster is gone")

    behind.begin("one", lambda: None, lost).wait()
    assert behind.finish() is None
