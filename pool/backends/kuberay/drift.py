"""Whether a RayCluster is still what the daemon made it: nobody edited or scaled it by hand. Pure.

What was sent is kept in an annotation, as ``kubectl apply`` keeps it: so it can be compared after a restart too, and
with another template in force. What Kubernetes, KubeRay or a webhook added to it is no edit, nor is what was never
stored: Kubernetes drops fields that its version of KubeRay does not know without a word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

APPLIED = "warmpool/applied"
# What the autoscaler writes, where there is one.
_AUTOSCALED = ("replicas", "scaleStrategy")
# What older versions of KubeRay do not know, or not all of. The containers carry what it would give them.
_NOT_EVERYWHERE = "authOptions"


def remember(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with its spec in the annotation."""
    meta = manifest["metadata"]
    annotations = {**meta.get("annotations", {}), **annotation(manifest["spec"])}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def annotation(sent: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotation that says which spec was sent."""
    return {APPLIED: json.dumps(sent, separators=(",", ":"), sort_keys=True)}


def edited(item: Mapping[str, Any]) -> str:
    """Return what of a RayCluster is not as it was sent, as a phrase; empty if nothing is."""
    applied = item["metadata"].get("annotations", {}).get(APPLIED)
    if not applied:
        return ""
    if item["metadata"].get("generation") == 1:
        # As it was created: Kubernetes counts the changes of a spec.
        return ""
    sent, live = json.loads(applied), item.get("spec", {})
    sent.pop(_NOT_EVERYWHERE, None)
    if sent.get("enableInTreeAutoscaling"):
        sent = {**sent, "workerGroupSpecs": [_without_scale(group) for group in sent.get("workerGroupSpecs", [])]}
    if live.get("suspend") and not sent.get("suspend"):
        return "spec.suspend is true"
    return _differs("spec", sent, live)


def workers(item: Mapping[str, Any]) -> int:
    """Return how many worker pods a RayCluster is to have at least."""
    spec = item.get("spec", {})
    least = "minReplicas" if spec.get("enableInTreeAutoscaling") else "replicas"
    return sum(int(group.get(least) or 0) * int(group.get("numOfHosts") or 1) for group in _groups(spec))


def _groups(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec.get("workerGroupSpecs") or []
    return found


def _without_scale(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in _AUTOSCALED}


def _differs(where: str, sent: Any, live: Any) -> str:
    """Return where `live` lacks or contradicts something of `sent`."""
    if isinstance(sent, dict) and isinstance(live, dict):
        for name, value in sent.items():
            # An empty value may be dropped where it is stored.
            if name not in live and value not in (None, "", 0, False, [], {}):
                return f"{where}.{name} is gone"
            if name in live and (found := _differs(f"{where}.{name}", value, live[name])):
                return found
        return ""
    if isinstance(sent, list) and isinstance(live, list):
        return _list_differs(where, sent, live)
    return "" if sent == live else f"{where} is {live}, not {sent}"


def _list_differs(where: str, sent: list[Any], live: list[Any]) -> str:
    key = next((key for key in ("name", "groupName") if all(isinstance(one, dict) and key in one for one in sent)), "")
    if not key:
        if len(sent) > len(live):
            return f"{where} has lost items"
        pairs = [(f"{where}[{at}]", one, other) for at, (one, other) in enumerate(zip(sent, live, strict=False))]
    else:
        there = {other[key]: other for other in live if isinstance(other, dict) and key in other}
        for one in sent:
            if one[key] not in there:
                return f"{where}[{one[key]}] is gone"
        pairs = [(f"{where}[{one[key]}]", one, there[one[key]]) for one in sent]
        if key == "groupName" and len(there) > len(sent):
            return f"{where} has more groups"
    return next((found for place, one, other in pairs if (found := _differs(place, one, other))), "")
