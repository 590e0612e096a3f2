"""Times of the past, as a command line says them."""

from __future__ import annotations

from datetime import UTC, datetime

from pool.cli.errors import CommandError


def moment(text: str, option: str, now: float) -> float:
    """Return seconds since the epoch for ``7d`` or ``last-7d`` (so long ago), a date, or a date and time (UTC).

    Args:
        text: as the command line says it.
        option: its name, for the error.
        now: seconds since the epoch.

    Raises:
        CommandError: it is none of these.
    """
    from pool.config.values import seconds

    try:
        return max(0.0, now - seconds(text.strip().removeprefix("last-")))
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(
            f"{option}: {text!r} is no time of the past.",
            remedy="Write last-7d, 36h, or 2026-03-01 or 2026-03-01T06:00.",
        ) from None
    return max(0.0, (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp())
