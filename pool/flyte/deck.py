"""The lease of a task as people see it beside the task: a tab of its deck (Flyte 1) or report (Flyte 2)."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pool.client.outside import port_forward
from pool.core.model import Outcome

if TYPE_CHECKING:
    from pool.client import Lease
    from pool.flyte.record import TaskRecord

TAB = "Lease"

_OUTCOMES = {
    Outcome.HIT: "A warm cluster was idle",
    Outcome.WAITED: "Waited for a cluster that another task gave back",
    Outcome.WARM_HEAD: "Waited for the workers of a cluster whose head was warm",
    Outcome.COLD: "Waited for a cluster to start",
}


def granted(lease: Lease, *, shared: bool = False) -> str:
    """Return the tab of a task that got a lease: how it came by its cluster, and where that is. No secrets.

    Args:
        lease: which it holds.
        shared: it is the lease of a task around or beside this one.
    """
    lead = f"{_OUTCOMES[lease.outcome]}: granted after {lease.waited_s:.3g} s."
    if shared:
        lead = "Shares the lease of a task that runs around or beside it."
    rows = [("Outcome", str(lease.outcome))]
    if lease.reason:
        rows.append(("Why no hit", _reason(str(lease.reason), lease.explanation)))
    rows += [("Waited", f"{lease.waited_s:.3f} s"), ("Cluster", escape(lease.cluster.id)), ("Lease", escape(lease.id))]
    if lease.group:
        here = "its previous lease was of this very cluster" if lease.group_was_here else "new on this cluster"
        rows.append(("Group", f"{escape(lease.group)}, {here}"))
    if lease.cluster.dashboard_url:
        rows.append(("Dashboard", _dashboard(lease.cluster.dashboard_url)))
    return _page(lead, rows)


def handed(record: TaskRecord) -> str:
    """Return what is added once a task's values went over: what that took; empty if none goes from task to task."""
    if not record.handover_s:
        return ""
    rows = [("Handed over in", f"{record.handover_s:.3f} s"), ("Of that, Flyte's copies", f"{record.durable_s:.3f} s")]
    if record.behind:
        rows.append(("Written behind", f"{record.behind} of Flyte's copies; the lease lasts until they are complete"))
    return _page("Values from and for other tasks.", rows)


def refused(error: BaseException) -> str:
    """Return the tab of a task that got no lease."""
    return _page("No cluster was leased.", [("Why", escape(str(error)))])


def _reason(code: str, explanation: str) -> str:
    return f"{escape(explanation)} (<code>{escape(code)}</code>)" if explanation else f"<code>{escape(code)}</code>"


def _dashboard(url: str) -> str:
    # What is no link for a browser must not become one, whoever says that it is a dashboard.
    shown = escape(url)
    if url.startswith(("http://", "https://")):
        shown = f'<a href="{escape(url)}" target="_blank" rel="noreferrer">{escape(url)}</a>'
    command = port_forward(url)
    if command:
        port = command.rsplit(" ", 1)[1]
        shown += (
            f"<br>From outside of Kubernetes: <code>{escape(command)}</code>, then "
            f'<a href="http://127.0.0.1:{port}" target="_blank" rel="noreferrer">http://127.0.0.1:{port}</a>'
        )
    return shown


def _page(lead: str, rows: list[tuple[str, str]]) -> str:
    """Return HTML of a sentence and rows whose values are HTML already."""
    cell = "padding: 4px 16px 4px 0; vertical-align: top; text-align: left"
    body = "".join(
        f'<tr><th style="{cell}; font-weight: 600; white-space: nowrap">{name}</th><td style="{cell}">{value}</td></tr>'
        for name, value in rows
    )
    return (
        '<div style="font: 14px/20px Open Sans, helvetica, arial, sans-serif; color: #333">'
        f"<p>{escape(lead)}</p><table>{body}</table></div>"
    )
