"""How programs of this package are sent into a cluster: in the command line of a job. An image need not have them."""

from __future__ import annotations

import ast
import base64
import json
import shlex
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType


def command_of(*modules: ModuleType, given: str = "") -> str:
    """Return the command line that runs modules of this package with the cluster's own Python.

    Args:
        modules: the last one is the program; it imports from those before it.
        given: its argument, if it has one.
    """
    # Some images have only the one name, some only the other.
    python = "$(command -v python || command -v python3)"
    return " ".join([f"exec {python} -c {shlex.quote(program_of(*modules))}", *([shlex.quote(given)] if given else [])])


@cache
def program_of(*modules: ModuleType) -> str:
    """Return the text of a program, for ``python -c``. Its files are run one after the other as one module.

    They import from that. Ray sends functions of such a module to other nodes by value.

    Raises:
        ValueError: if two of them mean different things by one name.
    """
    texts: dict[str, str] = {}
    said: dict[str, tuple[str, str]] = {}
    for module in modules:
        bare = _bare(Path(str(module.__file__)).read_text("utf-8"))
        texts[module.__name__] = ast.unparse(bare)
        for name, meaning in _meanings(bare):
            owner, first = said.setdefault(name, (module.__name__, meaning))
            if meaning != first:
                raise ValueError(f"{owner} and {module.__name__} cannot be sent together: both have a {name}.")
    packed = base64.b85encode(zlib.compress(json.dumps(texts).encode(), 9)).decode()
    unpacked = f"json.loads(zlib.decompress(base64.b85decode('{packed}')))"
    run = "(exec(t,globals()),sys.modules.__setitem__(n,sys.modules['__main__']))"
    return f"import base64,json,sys,zlib;[{run} for n,t in {unpacked}.items()]"


def _meanings(program: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the names that a program gives something of its own, with what it is."""
    for node in program.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ast.unparse(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield ast.unparse(target), ast.unparse(node)


def _bare(text: str) -> ast.Module:
    """Return a program without its docstrings and comments."""
    try:
        tree = ast.parse(text)
    except SystemError:
        # CPython 3.11 now and then takes what another thread does for a fault of this one ("AST constructor recursion
        # depth mismatch", gh-106905).
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [one for one in node.body if not _is_said(one)] or [ast.Pass()]
    return tree


def _is_said(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
