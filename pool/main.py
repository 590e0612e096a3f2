"""The composition root: the one place that picks the concrete store, backend and policies, and runs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import structlog

from pool import __version__
from pool.access import Access
from pool.api.app import create_app
from pool.api.app import serve as listen
from pool.clock import WallClock
from pool.config import Config, build_rules, load, windows_of
from pool.config.existing import ExistingSection
from pool.config.load import public_address
from pool.config.show import effective
from pool.config.values import address
from pool.config.watch import Watch
from pool.core.errors import PoolError
from pool.core.events import Reconfigure
from pool.core.groups import held_groups
from pool.core.reasons import Reason
from pool.core.settings import Rules
from pool.daemon import Daemon
from pool.holds.early import EarlyEnds
from pool.interpreter import answer_promptly, long_lived_objects
from pool.journal import Journal
from pool.logs import configure
from pool.metrics import Metrics
from pool.parts import entries_of, make_backend, make_flyte, make_reviewer, make_role, store_url
from pool.schedule import Schedule
from pool.shadowing import Shadowing
from pool.signals import Signals
from pool.statedir import OPERATOR_TOKEN_FILE, StateDir
from pool.store.sql import SqlStore
from pool.tokens import Tokens

if TYPE_CHECKING:
    from pool.backends.existing.backend import ExistingBackend

log = structlog.get_logger("warmpool")
T = TypeVar("T")

KEEP_LEARNED_S = 15.0
"""What was learned goes to the store so often, some of it at a time."""

NEEDS_RESTART = (
    *("listen", "listen_publicly", "state_dir", "tokens_dir"),
    *("store", "backend", "reconcile_interval", "flyte"),
)
"""Settings that a reload cannot change."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says over the configuration.

    Attributes:
        config: the file, None for the defaults.
        state_dir, listen: over the file's settings.
        stop_clusters: stop every cluster at the end, instead of keeping them for the next daemon.
        restored: the store comes from a backup.
        watch_config: take the configuration file anew whenever its content changes, as after SIGHUP.
    """

    config: Path | None = None
    state_dir: Path | None = None
    listen: str | None = None
    stop_clusters: bool = False
    restored: bool = False
    watch_config: bool = False


def configuration(options: Options) -> Config:
    """Return the configuration with what the command line says over it.

    Raises:
        ConfigError: with everything that is wrong with the file.
        PoolError: if the command line's address is not one, or is not allowed.
    """
    config = load(options.config)
    if options.state_dir is not None:
        config = config.model_copy(update={"state_dir": options.state_dir.expanduser()})
    if options.listen is not None:
        try:
            where = address(options.listen)
        except ValueError as error:
            raise PoolError(f"--listen: {error}.", reason=Reason.INVALID_REQUEST, remedy="Correct it.") from None
        if not where.is_loopback and not config.listen_publicly:
            remedy = "Allow it in the configuration file, and put TLS before it."
            raise PoolError(f"--listen: {public_address(str(where))}.", reason=Reason.NOT_ALLOWED, remedy=remedy)
        config = config.model_copy(update={"listen": where})
    return config.model_copy(update={"state_dir": config.state_dir.absolute()})


def _fixed(config: Config, name: str) -> object:
    """Return a setting without what a reload can change in it."""
    value = getattr(config, name)
    return value.model_copy(update={"clusters": []}) if isinstance(value, ExistingSection) else value


class Service:
    """A daemon with all that belongs to it.

    Attributes:
        config: in force.
        daemon: keeps the pools.
        metrics: what Prometheus is told.
    """

    def __init__(self, config: Config, options: Options) -> None:
        self.config = config
        self._options = options
        backend, self._machine_milli_cpu = make_backend(config)
        self._existing = cast("ExistingBackend", backend) if isinstance(config.backend, ExistingSection) else None
        if self._existing is not None:
            self._existing.changed = self._on_roster
        # Windows follow the system's time, also when it is set; leases must not, so they have a clock of their own.
        self._schedule = Schedule(time.time, self._set_floors, self._prune)
        tokens = Tokens.load_or_create(config.tokens / "tokens.key")
        self.daemon = Daemon(
            SqlStore(store_url(config), restored=options.restored, key_id=tokens.key_id),
            backend,
            self._rules(config, self._schedule.floors(windows_of(config))),
            tokens,
            WallClock(),
            reconcile_s=config.reconcile_interval,
        )
        # The daemon's clock: after a step of the system's time, ages and times in a state would be wrong by it.
        self.metrics = Metrics(
            lambda: self.daemon.state,
            clock_now=self.daemon.clock.now,
            ready=lambda: self.daemon.ready,
            pulse=lambda: self.daemon.pulse,
            standing_by=lambda: bool(self.daemon.standing_by),
        )
        self.metrics.announce(pool.name for pool in config.pools)
        self.daemon.observe(_guarded(self.metrics.observe, "metrics"))
        self._journal = Journal(lambda: self.daemon.state, debug=config.log.level == "debug")
        self.daemon.observe(_guarded(self._journal.observe, "journal"))
        self._shadowing = Shadowing(self.daemon, self.metrics.observe_shadow)
        self._shadowing.follow(config)
        self.daemon.observe(self._shadowing.observe)
        self.daemon.observe_commits(self.metrics.observe_commit)
        self.access = Access.load_or_create(config.tokens / "tokens.yaml")
        self._review = make_reviewer(config)
        self._role = make_role(config)
        self._flyte = make_flyte(config)
        self._waits = True
        self._watch: Watch | None = None
        self._rosters: set[asyncio.Task[None]] = set()

    def _rules(self, config: Config, floors: dict[str, int]) -> Rules:
        rules = build_rules(config, floors, machine_milli_cpu=self._machine_milli_cpu)
        return rules if self._existing is None else self._existing.roster.over(rules)

    def _on_roster(self) -> None:
        """A cluster of somebody else's told what it is: the rules follow."""
        task = asyncio.get_running_loop().create_task(self._take_roster(), name="roster")
        self._rosters.add(task)
        task.add_done_callback(self._rosters.discard)

    async def _take_roster(self) -> None:
        try:
            floors = self._schedule.floors(windows_of(self.config))
            await self.daemon.submit(Reconfigure(self._rules(self.config, floors)))
        except PoolError as error:
            log.error(f"what the clusters report could not be taken: {error}")

    async def _set_floors(self, floors: dict[str, int]) -> None:
        await self.daemon.submit(Reconfigure(self._rules(self.config, floors)))

    async def _prune(self) -> None:
        gone = await self.daemon.records.prune(time.time() - self.config.store.keep_history)
        if gone:
            log.info(f"deleted {gone} records of history older than the configuration keeps", deleted=gone)

    async def reload(self) -> None:
        """Take the configuration file anew, as a whole or not at all."""
        roster = self._existing.roster if self._existing is not None else None
        try:
            config = configuration(self._options)
            changed = [name for name in NEEDS_RESTART if _fixed(config, name) != _fixed(self.config, name)]
            if (config.access.kubernetes is None) != (self.config.access.kubernetes is None):
                changed.append("access.kubernetes")
            if changed:
                raise PoolError(
                    f"{', '.join(changed)} cannot be changed while the daemon runs.",
                    reason=Reason.CONFLICT,
                    remedy="Restart the daemon: leases and clusters outlive it.",
                )
            if self._existing is not None and isinstance(config.backend, ExistingSection):
                self._existing.take(self._existing.roster.of(entries_of(config.backend)))
            await self.daemon.follow(self._rules(config, self._schedule.floors(windows_of(config))))
        except PoolError as error:
            if self._existing is not None and roster is not None:
                self._existing.take(roster)
            self._schedule.floors(windows_of(self.config))
            self.metrics.observe_reload(ok=False)
            log.error(f"the configuration was not reloaded, the old one stays in force: {error}")
            return
        self.config = config
        self._shadowing.follow(config)
        if self._existing is not None:
            self._existing.announce()
        self._watch_tokens()
        if self._review is not None and config.access.kubernetes is not None:
            self._review.follow(config.access.kubernetes.rules())
        configure(config.log.level, config.log.format)
        self._journal.debug = config.log.level == "debug"
        self.metrics.announce(pool.name for pool in config.pools)
        self.metrics.observe_reload(ok=True)
        log.info("the configuration was reloaded", pools=[pool.name for pool in config.pools])

    def _watch_tokens(self) -> None:
        section = self.config.backend
        if self._watch is not None and isinstance(section, ExistingSection):
            self._watch.beside(entry.token_file for entry in section.clusters if entry.token_file is not None)

    async def _become_writer(self) -> None:
        """Stand by for as long as another daemon is the writer, then take over."""
        await self.daemon.stand_by(self._stand_by_for)
        self._waits = False
        # What was made as the process began may be of last week.
        await self.daemon.follow(self._rules(self.config, self._schedule.floors(windows_of(self.config))))
        self.metrics.begin(self.daemon.clock.now())
        with long_lived_objects():
            await self.daemon.start()
        if self._role is not None:
            self._role.writer()

    def _stand_by_for(self, writer: str) -> None:
        log.info(f"standing by: the writer of the store is {writer}", writer=writer)

        def ready() -> None:
            if self._waits:
                self.daemon.standing_by = writer

        if self._role is None or self.daemon.standing_by:
            ready()
        else:
            self._role.standby(ready)

    async def run(self, home: StateDir, say: Callable[[str], None], watch: Watch | None = None) -> int:
        """Serve until a signal or a failure, and return the exit code.

        Args:
            home: the state directory, taken.
            say: told what a person at the terminal wants to know.
            watch: notices that the configuration file was changed.

        Raises:
            PoolError: if the address is taken, or the store or the backend cannot be opened.
        """
        answer_promptly()
        where = self.config.listen
        app = create_app(
            self.daemon,
            self.access,
            self.metrics.registry,
            refused=self.metrics.observe_refusal,
            review=self._review,
            config=lambda: effective(self.config),
            shadow=self._shadowing.told,
        )
        server = await listen(app, where.host, where.port, allow_remote=self.config.listen_publicly)
        signals = Signals(self.reload)
        try:
            if watch is not None:
                self._watch = watch
                self._watch_tokens()
                signals.reload_on(watch.changes())
            if not await signals.unless_told_to_end(self._become_writer()):
                return 0
            self._schedule.start()
            self._schedule.every(KEEP_LEARNED_S, self.daemon.records.keep_learned, "keep what was learned")
            if self._flyte is not None and self.config.flyte is not None:
                ends = EarlyEnds(
                    self._flyte,
                    lambda: held_groups(self.daemon.state, self.daemon.clock.now()),
                    self.daemon.submit,
                )
                self._schedule.every(self.config.flyte.ask_every, ends.look, "ask after held workflows")
            home.announce(server.url, self.config.tokens)
            say(f"warmpool {__version__} listens on {server.url} (its API as a page: {server.url}/docs)")
            say(f"tokens: {self.access.path}; commands use {self.config.tokens / OPERATOR_TOKEN_FILE}")
            await signals.unless_told_to_end(self.daemon.stopped.wait())
        finally:
            self._schedule.close()
            # The API goes first: a waiter is told where it stands, and nothing new is asked of a daemon that ends.
            await server.close()
            await self.daemon.stop(stop_clusters=self._options.stop_clusters)
            if self._review is not None:
                await self._review.close()
            if self._flyte is not None:
                await self._flyte.close()
            if self._role is not None:
                await self._role.close()
            await signals.close()
        if self.daemon.failed:
            return 1
        say("stopped, and every cluster with it" if self._options.stop_clusters else "stopped; clusters are kept")
        return 0


def serve(options: Options, say: Callable[[str], None] = print) -> int:
    """Run a daemon until it is told to end.

    Args:
        options: of the command line.
        say: told what a person at the terminal wants to know.

    Returns:
        The exit code: 0 after a signal, 1 if the daemon failed.

    Raises:
        PoolError: if it cannot be started, in one sentence.
    """
    watch = Watch(options.config) if options.watch_config and options.config is not None else None
    config = configuration(options)
    configure(config.log.level, config.log.format)
    home = StateDir(config.state_dir)
    # Daemons on one PostgreSQL may share a machine and a directory: one is the writer, and announces itself.
    home.take(shared=not store_url(config).startswith("sqlite"))

    async def run() -> int:
        return await Service(config, options).run(home, say, watch)

    try:
        return asyncio.run(run())
    finally:
        home.leave()


def _guarded(observer: Callable[[T], None], name: str) -> Callable[[T], None]:
    """Return an observer that cannot stop the writer: what it tells is lost, what it tells about is not."""

    def guarded(decision: T) -> None:
        try:
            observer(decision)
        except Exception:
            log.exception(f"the {name} could not take a decision", observer=name)

    return guarded
