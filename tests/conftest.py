"""What all tests share."""

from __future__ import annotations

import os
import shutil
import tempfile

import hypothesis
import pytest

from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]  # fixtures

# A machine that is busy is no failure: what is measured stands in `benchmarks`.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


TEMPORARY = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # it has that of the process that started it
    # What is tested, and each library that it imports, may leave something there. `tmp_path` stays where it was.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    tempfile.tempdir = os.environ["TMPDIR"] = config.stash[TEMPORARY] = tempfile.mkdtemp(prefix="wpt-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if TEMPORARY in config.stash:
        shutil.rmtree(config.stash[TEMPORARY], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Real clusters take most of a small machine: two at a time from different tests would only slow each other.
    for item in items:
        if item.get_closest_marker("kube"):
            continue
        if item.get_closest_marker("ray") or item.get_closest_marker("flyte"):
            item.add_marker(pytest.mark.xdist_group("real"))
