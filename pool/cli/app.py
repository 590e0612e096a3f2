"""The command ``warmpool`` and the commands that run a daemon.

Whatever is slow to import is imported by the command that needs it, so that ``--help`` and completion answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pool import __version__
from pool.cli import (
    advising,
    configuring,
    connecting,
    history,
    leasing,
    ledger,
    looking,
    operating,
    shadowing,
    simulating,
)
from pool.cli.context import where
from pool.cli.errors import Group
from pool.cli.talk import Where

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Warm Ray clusters, leased to successive Flyte tasks.",
    epilog="Commands find the daemon on this machine by its state directory, any other by WARMPOOL_URL and "
    "WARMPOOL_TOKEN_FILE.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"warmpool {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option("--url", help="URL of the daemon (or WARMPOOL_URL).")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File that holds the token (or WARMPOOL_TOKEN_FILE).")
    ] = None,
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="State directory of the daemon here (or WARMPOOL_STATE_DIR).")
    ] = None,
    _show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take what every command shares."""
    ctx.obj = Where(url, token_file, state_dir)


@app.command()
def serve(
    ctx: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file (YAML).")] = None,
    state_dir: Annotated[Path | None, typer.Option("--state-dir", help="Directory of store, tokens, clusters.")] = None,
    listen: Annotated[str | None, typer.Option("--listen", help="Address of the API: 127.0.0.1:8787.")] = None,
    stop_clusters: Annotated[
        bool, typer.Option("--stop-clusters", help="Stop every cluster at the end; else they are kept.")
    ] = False,
    restored: Annotated[
        bool, typer.Option("--restored", help="The store comes from a backup: raise its epochs first.")
    ] = False,
    watch_config: Annotated[
        bool, typer.Option("--watch-config", help="Reload the configuration file when it changes.")
    ] = False,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. SIGHUP reloads the configuration.

    Leases and clusters outlive it: the next daemon of the same state directory takes them over.

    \b
    Examples:
      warmpool serve
      warmpool serve --config warmpool.yaml
      warmpool serve --state-dir /tmp/try --listen 127.0.0.1:0 --stop-clusters
    """
    from pool import main as service

    directory = state_dir if state_dir is not None else where(ctx).state_dir
    raise typer.Exit(
        service.serve(service.Options(config, directory, listen, stop_clusters, restored, watch_config), _say)
    )


def _say(text: str) -> None:
    print(text, flush=True)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def demo(ctx: typer.Context) -> None:
    """Show it: a Flyte workflow on warm clusters.

    It runs cold, then warm, and beside it the same workflow with a fresh cluster for each task.
    """
    import importlib

    raise typer.Exit(importlib.import_module("pool.demo.run").main(ctx.args) or 0)


app.command(context_settings={"allow_interspersed_args": False})(leasing.lease)
app.command()(connecting.connector)
app.command()(looking.pools)
app.command()(looking.clusters)
app.command()(looking.leases)
app.command()(looking.queue)
app.command()(looking.explain)
app.command()(operating.cordon)
app.command()(operating.uncordon)
app.command()(operating.drain)
app.command()(operating.prewarm)
app.command()(operating.resize)
app.command()(operating.revoke)
app.command()(simulating.simulate)
app.command()(advising.advise)
app.command()(shadowing.shadow)
app.command()(ledger.ledger)
app.add_typer(configuring.app, name="config")
app.add_typer(history.app, name="history")


def main() -> None:
    """Run the command line."""
    app(prog_name="warmpool")
