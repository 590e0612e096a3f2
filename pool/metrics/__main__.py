"""``python -m pool.metrics``: print the page about the metrics."""

from __future__ import annotations

import sys

from pool.metrics.document import page
from pool.metrics.gauges import ROWS
from pool.metrics.series import Series

if __name__ == "__main__":
    sys.stdout.write(page([*Series("", 0.0).rows, *ROWS]))
