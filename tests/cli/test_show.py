"""Figures are shown with as many digits as tell them apart."""

from __future__ import annotations

import pytest

from pool.cli.show import money


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0.0, "0.00"), (1204.3, "1,204.30"), (0.1, "0.10"), (0.0732, "0.073"), (-0.00214, "-0.0021"), (-12.0, "-12.00")],
)
def test_small_amounts_keep_two_digits(amount: float, shown: str) -> None:
    assert money(amount) == shown
