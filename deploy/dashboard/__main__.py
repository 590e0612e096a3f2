"""``python -m deploy.dashboard > deploy/chart/files/warmpool.dashboard.json``: make the dashboard anew."""

from __future__ import annotations

import sys

from deploy.dashboard.grafana import text

if __name__ == "__main__":
    sys.stdout.write(text())
