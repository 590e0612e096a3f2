"""``warmpool config render``: the RayCluster of a key, before anything is created."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pool.cli.app import app
from pool.config import ConfigError, load_text
from pool.config.model import KuberaySection
from pool.parts import kuberay_options

CONFIG = """
backend:
  type: kuberay
  namespace: "{project}-{domain}"
  template: {spec: {headGroupSpec: {template: {spec: {priorityClassName: batch}}}}}
pools:
  - name: trainers
    key: {image: "rayproject/ray:2.60.0", tenant: ml/production, shape: {head: {cpu: 2}}}
"""


def render(tmp_path: Path, key: str, config: str = CONFIG) -> tuple[int, str]:
    file = tmp_path / "warmpool.yaml"
    file.write_text(config)
    done = CliRunner().invoke(app, ["config", "render", key, "--config", str(file)])
    return done.exit_code, done.output


def test_the_cluster_of_a_pool_with_a_key_is_shown(tmp_path: Path) -> None:
    code, said = render(tmp_path, "trainers")
    manifest = yaml.safe_load(said)
    assert (code, manifest["kind"], manifest["metadata"]["namespace"]) == (0, "RayCluster", "ml-production")
    assert manifest["spec"]["headGroupSpec"]["template"]["spec"]["priorityClassName"] == "batch"


def test_the_cluster_of_a_key_in_a_file_is_shown(tmp_path: Path) -> None:
    key = tmp_path / "key.yaml"
    key.write_text("{image: 'rayproject/ray:2.58.0', tenant: a/b}")
    code, said = render(tmp_path, str(key))
    assert (code, yaml.safe_load(said)["spec"]["rayVersion"]) == (0, "2.58.0")


@pytest.mark.parametrize(
    ("key", "config", "said"),
    [
        ("nobody", CONFIG, "neither a pool with a key nor a file"),
        ("trainers", CONFIG.replace("2.60.0", "2.40.0"), "knows no token authentication"),
        ("trainers", "backend: {type: simulated}", "creates no RayClusters"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_sentence(tmp_path: Path, key: str, config: str, said: str) -> None:
    code, told = render(tmp_path, key, config)
    assert code == 1
    assert said in told


@pytest.mark.parametrize("namespace", ["{nobody}", "Upper", "a b"])
def test_a_namespace_that_kubernetes_would_refuse_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError, match=r"backend\.namespace|backend\.kuberay\.namespace"):
        load_text(f"backend: {{type: kuberay, namespace: '{namespace}'}}", "warmpool.yaml")


def test_every_setting_of_the_section_reaches_the_backend() -> None:
    text = "backend: {type: kuberay, ray_version: 2.55.0, addresses: pod, context: other, kubeconfig: /k}"
    section = load_text(text, "warmpool.yaml").backend
    assert isinstance(section, KuberaySection)
    options = kuberay_options(section)
    assert (options.ray_version, options.addresses) == ("2.55.0", "pod")
    assert (options.context, options.kubeconfig) == ("other", "/k")
