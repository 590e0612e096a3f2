"""What all tests share."""

from __future__ import annotations

import hypothesis
import pytest

from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]  # fixtures

# A machine that is busy is no failure: what is measured stands in `benchmarks`.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Real clusters take most of a small machine: two at a time from different tests would only slow each other.
    for item in items:
        if item.get_closest_marker("ray") or item.get_closest_marker("flyte"):
            item.add_marker(pytest.mark.xdist_group("real"))
