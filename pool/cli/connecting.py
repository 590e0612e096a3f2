"""``warmpool connector``: what a Flyte backend sends its Ray tasks to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from pool.cli.context import where
from pool.cli.errors import CommandError
from pool.cli.talk import Where


def connector(
    ctx: typer.Context,
    listen: Annotated[str, typer.Option("--listen", help="Address of the gRPC service.")] = "127.0.0.1:8000",
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate of this server (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key (PEM).")] = None,
    client_ca: Annotated[
        Path | None, typer.Option("--client-ca", help="Who signs the certificates of those that may call (PEM).")
    ] = None,
    trust_network: Annotated[
        bool,
        typer.Option("--trust-network", help="Listen elsewhere without TLS: a NetworkPolicy says who may call."),
    ] = False,
    env_dir: Annotated[
        Path | None,
        typer.Option(
            "--env-dir", help="Directory of which each file is a variable of every task, as a mounted Secret."
        ),
    ] = None,
    hold_s: Annotated[
        float,
        typer.Option(
            "--hold-s",
            min=0,
            max=60,
            help="Seconds the first answer about a task waits for its end: well within the backend's defaultTimeout.",
        ),
    ] = 3.0,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, max=604_800, help="Seconds a task waits for its cluster at most.")
    ] = 3600.0,
    warm: Annotated[
        bool, typer.Option("--warm/--ray-jobs", help="Run tasks in warm interpreters, or each as a Ray job.")
    ] = True,
    preload: Annotated[
        list[str] | None, typer.Option("--preload", help="Module that warm interpreters import; may be given again.")
    ] = None,
    learn: Annotated[
        bool,
        typer.Option("--learn/--no-learn", help="Have idle warm interpreters import what tasks of their image do."),
    ] = True,
    link: Annotated[
        str,
        typer.Option("--link", help="Dashboard's URL as people reach it: {url}, {cluster} and {job} are put in."),
    ] = "",
    metrics: Annotated[str, typer.Option("--metrics", help="Address for Prometheus; none if not given.")] = "",
    log_level: Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")] = "info",
) -> None:
    """Run Flyte's Ray tasks, unchanged, on leased clusters: serve task type `ray` to a Flyte backend.

    Whoever reaches it can run any command as any project: so it listens on this machine alone, or wants TLS with
    client certificates, or a NetworkPolicy. Leases and jobs outlive it: the next one goes on with them.

    \b
    Examples:
      warmpool connector
      warmpool connector --listen 0.0.0.0:8000 --tls-cert tls.crt --tls-key tls.key --client-ca ca.crt
    """
    try:
        from pool.connector import server
    except ModuleNotFoundError as error:
        raise CommandError(
            f"The connector needs {error.name}.", remedy="Install it with pip install 'warmpool[connector]'."
        ) from None
    from pool import logs

    if log_level not in ("debug", "info", "warning", "error"):
        raise CommandError(f"--log-level: {log_level!r} is none of debug, info, warning, error.")
    logs.configure(log_level)
    logging.getLogger("warmpool").setLevel(log_level.upper())
    url, token, token_file = _daemon(where(ctx))
    options = server.Options(
        url=url,
        token=token,
        token_file=token_file,
        listen=listen,
        tls_cert=tls_cert,
        tls_key=tls_key,
        client_ca=client_ca,
        trust_network=trust_network,
        env_dir=env_dir,
        hold_s=hold_s,
        wait_s=wait_s,
        warm=warm,
        preload=tuple(preload or ()),
        learn=learn,
        link=link,
        metrics=metrics,
    )
    server.serve(options, lambda text: print(text, flush=True))


def _daemon(named: Where) -> tuple[str, str, str]:
    """Return URL, token and token file of the daemon; a file is preferred, since what it holds may change."""
    from pool.cli.talk import find
    from pool.client import configured
    from pool.client.endpoint import Endpoint

    if named == Where() and configured():
        return Endpoint.environment()
    if named.url and named.token_file:
        return named.url, "", str(named.token_file)
    found = find(named)
    return (found.url, "", str(named.token_file)) if named.token_file else (found.url, found.token, "")
