"""The rows and panels as Grafana takes them: forty panels repeat what their kind needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deploy.dashboard.panels import DAEMON, ROWS, Panel

WIDTH = 24
"""Columns of Grafana's grid."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _steps(panel: Panel) -> list[dict[str, Any]]:
    if panel.good_from is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.good_from}]
    steps: list[dict[str, Any]] = [{"color": "green" if panel.bad_from is not None else "blue", "value": None}]
    return steps if panel.bad_from is None else [*steps, {"color": "red", "value": panel.bad_from}]


def _panel(panel: Panel, id_: int, x: int, y: int) -> dict[str, Any]:
    is_graph = panel.kind == "timeseries"
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
    }
    if is_graph:
        custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 30 if panel.stack else 5, "showPoints": "never"}
        custom["stacking"] = {"mode": "normal" if panel.stack else "none", "group": "A"}
        if panel.bad_from is not None:
            custom["thresholdsStyle"] = {"mode": "line"}
        defaults["custom"] = custom
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value", "graphMode": "none", "textMode": "value",
        }  # fmt: skip
    return {
        "id": id_,
        "title": panel.title,
        "description": panel.says,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": not is_graph,
                "range": is_graph,
            }
            for n, query in enumerate(panel.queries)
        ],
    }


def _panels() -> Iterator[dict[str, Any]]:
    id_, y = 0, 0
    for title, panels in ROWS.items():
        id_ += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        yield {"id": id_, "title": title, "type": "row", "collapsed": False, "gridPos": place, "panels": []}
        x, y, height = 0, y + 1, 0
        for panel in panels:
            id_ += 1
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            yield _panel(panel, id_, x, y)
            x, height = x + panel.width, max(height, panel.height)
        y += height


def _variable(name: str, label: str, query: str, *, several: bool) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}} if several else {}),
    }


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana takes it."""
    return {
        "uid": "warmpool",
        "title": "Warmpool",
        "description": "Warm Ray clusters, leased to successive tasks: waits, clusters, what warmth costs, the daemon.",
        "tags": ["warmpool", "ray"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
                _variable("job", "Daemon", "label_values(warmpool_ready, job)", several=False),
                _variable("pool", "Pool", 'label_values(warmpool_clusters{job=~"$job"}, pool)', several=True),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Restarts",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": "orange",
                    "expr": f"changes(warmpool_start_time_seconds{{{DAEMON}}}[1m]) > 0",
                    "titleFormat": "The daemon was started anew",
                }
            ]
        },
        "panels": list(_panels()),
    }


def text() -> str:
    """Return the dashboard as the file holds it."""
    return json.dumps(dashboard(), indent=1) + "\n"
