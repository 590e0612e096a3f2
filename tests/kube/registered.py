"""What Flyte would start in a task's pod: the container that registration makes, with its command filled in."""

from __future__ import annotations

import importlib
import shlex
import sys
import tempfile
from pathlib import Path

from flytekit.configuration import ImageConfig, SerializationSettings

FILLED = {
    "{{.input}}": "/tmp/run/inputs.pb",
    "{{.outputPrefix}}": "/tmp/run/out",
    "{{.rawOutputDataPrefix}}": "/tmp/run/raw",
}


def container(image: str, module: str, code: str, task: str) -> dict[str, str]:
    """Return the environment of a task's container, and as ``COMMAND`` what it runs.

    Args:
        image: of the task.
        module: the name of the task's module.
        code: its text. flytekit wants to read it from a file.
        task: the name of the task in it.
    """
    images = ImageConfig.auto(img_name=image)
    settings = SerializationSettings(project="tests", domain="kube", version="v", image_config=images)
    with tempfile.TemporaryDirectory() as root:
        Path(root, f"{module}.py").write_text(code)
        sys.path.insert(0, root)
        importlib.invalidate_caches()
        try:
            made = getattr(importlib.import_module(module), task).get_container(settings)
        finally:
            sys.path.remove(root)
            sys.modules.pop(module, None)
    return {**made.env, "COMMAND": shlex.join(FILLED.get(word, word) for word in made.args)}
