"""The metrics as a page for people, made of their definitions."""

from __future__ import annotations

from collections.abc import Iterable

from pool.metrics.series import Row

HEAD = """\
# Metrics

`GET /metrics` in Prometheus' text format, with a token of the role `metrics` (or `operator`).

`pool` is the name of a configured pool, never a digest or a tenant, so the number of series is bounded by the
configuration. Reasons are the codes of `pool/core/reasons.py`. Counters and histograms begin at 0 when the daemon
starts, as Prometheus expects; gauges are read from the pool's state at each scrape, so they are right from the first
scrape after a restart. Beside these there are the `process_*` metrics of the daemon itself.

This page is made by `python -m pool.metrics > docs/metrics.md`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def page(rows: Iterable[Row]) -> str:
    """Return the page about the metrics."""
    lines = [
        f"| `{row.name}` | {row.type} | {', '.join(f'`{label}`' for label in row.labels)} | {row.text} |\n"
        for row in sorted(rows)
    ]
    return HEAD + "".join(lines)
