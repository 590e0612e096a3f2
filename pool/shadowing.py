"""Has the policy that the configuration names as a shadow follow the live one, as long as it does not fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from pool.config import Config, build_rules
from pool.core.decisions import Decision
from pool.daemon import Daemon
from pool.wire.records import ShadowAnswer

if TYPE_CHECKING:
    from pool.replay.shadow import Shadow

log = structlog.get_logger("warmpool")


class Shadowing:
    """A candidate policy beside the live one, from one (re)load of the configuration to the next.

    Args:
        daemon: whose decisions it follows.
        told: told of each lease: pool's name, whether it was a hit, and whether it would have been.
    """

    def __init__(self, daemon: Daemon, told: Callable[[str, bool, bool], None]) -> None:
        self._daemon = daemon
        self._told = told
        self._config: Config | None = None
        self._shadow: Shadow | None = None

    def follow(self, config: Config) -> None:
        """Begin anew, with the policy that this configuration names; with none if it names none."""
        self._config = config if config.shadow is not None else None
        self._shadow = None

    def observe(self, decision: Decision) -> None:
        """Have the candidate follow a decision. One that fails is out of it until `follow`."""
        config = self._config
        if config is None or config.shadow is None or not self._daemon.ready:
            return
        try:
            if self._shadow is None:
                from pool.replay.shadow import Shadow

                rules = build_rules(config.shadowed(), self._daemon.state.rules.floors)
                name = config.shadow.reclaim.type
                self._shadow = Shadow(name, rules, lambda: self._daemon.state, decision.now, self._told)
            self._shadow.observe(decision)
        except Exception:
            log.exception("the policy in the shadow failed, and is followed no more")
            self._config = self._shadow = None

    def told(self) -> ShadowAnswer | None:
        """Return how both compare; None where there is no candidate, or nothing yet."""
        return self._shadow.told(self._daemon.clock.now()) if self._shadow is not None else None
