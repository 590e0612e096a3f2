"""Commands about the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.context import JSON
from pool.cli.errors import CommandError, Group, tell
from pool.cli.show import as_json

if TYPE_CHECKING:
    from pool.config import Config
    from pool.core.key import ClusterKey

app = typer.Typer(cls=Group, no_args_is_help=True, help="Check or show a configuration.", rich_markup_mode=None)

File = Annotated[Path | None, typer.Argument(help="The configuration file.", show_default="the defaults alone")]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The configuration file.")],
    json: JSON = False,
) -> None:
    """Check a configuration file, and tell everything that is wrong with it.

    \b
    Example:
      warmpool config check warmpool.yaml
    """
    from pool.config import ConfigError, load

    try:
        config = load(file)
    except ConfigError as error:
        if json:
            problems = [{"line": p.line, "column": p.column, "path": p.path, "text": p.text} for p in error.problems]
            as_json({"valid": False, "file": str(file), "problems": problems})
        else:
            tell(str(error))
        raise typer.Exit(1) from None
    names = [pool.name for pool in config.pools]
    if json:
        as_json({"valid": True, "file": str(file), "pools": names})
    else:
        print(f"{file} is valid. Pools, the first that matches counts: {', '.join(names)}.")


@app.command()
def show(file: File = None, json: JSON = False) -> None:
    """Show what is in force: the file with every default filled in, and no secrets.

    \b
    Examples:
      warmpool config show
      warmpool config show warmpool.yaml --json
    """
    import yaml

    from pool.config import load
    from pool.config.show import effective

    data = effective(load(file))
    if json:
        as_json(data)
    else:
        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")


@app.command()
def render(
    key: Annotated[str, typer.Argument(help="A pool with a key in the configuration, or a file that holds a key.")],
    file: Annotated[Path | None, typer.Option("--config", "-c", help="The configuration file.")] = None,
    json: JSON = False,
) -> None:
    """Show the RayCluster that the kuberay backend would create for a key, without creating anything.

    \b
    Examples:
      warmpool config render trainers --config warmpool.yaml
      warmpool config render key.yaml --config warmpool.yaml | kubectl apply --dry-run=server -f -
    """
    import yaml

    from pool.backends.kuberay.spec import ray_cluster
    from pool.config import load
    from pool.config.model import KuberaySection
    from pool.config.rules import build_rules
    from pool.parts import kuberay_options

    config = load(file)
    if not isinstance(config.backend, KuberaySection):
        raise CommandError(
            f"The configuration's backend is {config.backend.type}, which creates no RayClusters.",
            remedy="Give a configuration with `backend: {type: kuberay}`.",
        )
    wanted = _key(key, config)
    # The first cluster of the pool; the store's part of the name is only known to a daemon.
    share = build_rules(config, {}).settings_for(wanted).resident_share
    manifest = ray_cluster("0" * 16, f"c-{wanted.digest}-1", wanted, kuberay_options(config.backend), share)
    if json:
        as_json(manifest)
    else:
        print(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True), end="")


def _key(given: str, config: Config) -> ClusterKey:
    import yaml

    from pool.config.rules import pinned_key
    from pool.core.key import key_from

    for pool in config.pools:
        if pool.name == given and (pinned := pinned_key(pool)) is not None:
            return pinned
    try:
        data = yaml.safe_load(Path(given).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise CommandError(
            f"{given} is neither a pool with a key nor a file that holds one: {error}.",
            remedy="Name a pool that has a `key`, or a YAML file with `image`, `tenant` and `shape`.",
        ) from None
    if not isinstance(data, dict):
        raise CommandError(f"{given} holds no key.", remedy="Write `image`, `tenant` and `shape` into it.")
    return key_from(data)
