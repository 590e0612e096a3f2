"""Lays one object over another as Kubernetes' strategic merge does: lists of named things are merged by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""By which field the items of a list are told apart; every other list is replaced as a whole."""

_HOW = ("exec", "httpGet", "tcpSocket", "grpc")
_ONE_OF = {"env": ("value", "valueFrom"), "livenessProbe": _HOW, "readinessProbe": _HOW, "startupProbe": _HOW}
"""Of which fields there may be one only, so that one that is given takes the place of another."""


def merged(below: Any, above: Any, name: str = "") -> Any:
    """Return `above` laid over `below`; neither is changed. A null in `above` takes away.

    Args:
        below: plain data.
        above: plain data that wins.
        name: of the field that holds both.
    """
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        given = [field for field in _ONE_OF.get(name, ()) if field in above]
        out = {field: value for field, value in below.items() if not given or field not in _ONE_OF[name]}
        for field, value in above.items():
            if value is None:
                out.pop(field, None)
            else:
                out[field] = merged(below.get(field), value, field)
        return out
    if isinstance(above, Mapping):
        return merged({}, above, name)
    if isinstance(below, list) and isinstance(above, list) and name in _KEYS:
        return _by_key(below, above, name)
    return above


def _by_key(below: list[Any], above: list[Any], name: str) -> list[Any]:
    key = _KEYS[name]
    items = {item[key]: item for item in below}
    for item in above:
        items[item[key]] = merged(items.get(item[key], {}), item, name)
    return list(items.values())
