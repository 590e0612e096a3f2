"""Commands about the configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pool.cli.context import JSON
from pool.cli.errors import Group, tell
from pool.cli.show import as_json

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
