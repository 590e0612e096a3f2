"""The operator's guide: a section for each alert, and nothing in it that does not exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from pool.cli.app import app
from pool.config import Config, load_text
from pool.config.flyte import FlyteSection
from pool.config.model import KuberaySection, StoreSection
from pool.config.pools import PoolOptions
from pool.core.model import Outcome
from pool.core.reasons import Reason
from pool.core.reconcile import DRIFTS
from pool.metrics.gauges import ROWS
from pool.metrics.series import Series
from pool.store.base import RESTORE_STEP
from tests.deploy.test_alerts import RULES
from tests.serving import Served

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))
BLOCKS = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", PAGE, re.M | re.S)
IN_BLOCKS = [line for _, kind, text in BLOCKS if not kind for line in text.splitlines() if line.startswith("warmpool ")]
INLINE = re.findall(r"`(warmpool [^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.S))
COMMANDS = sorted(
    # Where its output goes is the shell's.
    {re.split(r" [#>]", line)[0].strip() for line in [*IN_BLOCKS, *(" ".join(one.split()) for one in INLINE)]}
)


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert set(SECTIONS) == set(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_the_section_says_what_to_do_with_a_command_or_a_place_to_look(alert: str) -> None:
    assert len(SECTIONS[alert].split()) > 30
    assert "`" in SECTIONS[alert]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_guide_exists_with_its_options(command: str) -> None:
    group = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    while words:
        assert isinstance(group, TyperGroup)
        found = group.get_command(None, words[0])  # type: ignore[arg-type]
        assert found is not None, f"there is no command {words[0]}"
        if not isinstance(found, TyperGroup):
            with found.make_context(words[0], words[1:]):
                return
        group, words = found, words[1:]


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", PAGE, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / "docs" / file).exists(), target
        assert file or anchor in anchors, target


def test_the_configurations_of_the_guide_are_valid() -> None:
    shown = [text for _, kind, text in BLOCKS if kind == "yaml" and "backend:" in text]
    assert len(shown) >= 4
    for text in shown:
        load_text(yaml.safe_dump(yaml.safe_load(text)), "guide")


def test_every_code_and_setting_that_the_guide_names_is_one() -> None:
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE))
    known = {reason.value for reason in Reason} | set(DRIFTS) | set(PoolOptions.model_fields)
    known |= {row.name for row in [*Series("", 0.0).rows, *ROWS]}
    known |= {outcome.value for outcome in Outcome} | set(Config.model_fields) | set(KuberaySection.model_fields)
    known |= set(StoreSection.model_fields) | set(FlyteSection.model_fields)
    known |= {"lost_after", "warm_head_price"}  # of `existing`, and of the API
    # Of PostgreSQL.
    known |= {"pg_dump", "pg_stat_activity", "idle_session_timeout"}
    assert words <= known


def test_a_backup_made_and_restored_as_the_guide_says_serves_again(tmp_path: Path) -> None:
    (backup,) = [text for _, kind, text in BLOCKS if not kind and "sqlite3" in text]
    (restore,) = [line for line in IN_BLOCKS if "--restored" in line]
    safe = tmp_path / "restored" / "state"
    safe.mkdir(parents=True)
    with Served(tmp_path / "first") as first:
        assert first.run("lease", "--", "true").returncode == 0
        script = backup.replace("~/.local/state/warmpool", str(first.state_dir)).replace("/some/where/safe", str(safe))
        subprocess.run(["bash", "-euc", script], check=True, timeout=60)
    (safe / "backup.sqlite").rename(safe / "warmpool.sqlite")
    before = (first.state_dir / "operator.token").read_text()
    with Served(tmp_path / "restored", *shlex.split(restore)[2:3]) as again:
        assert (again.state_dir / "operator.token").read_text() == before
        assert '"end_reason": "released"' in again.run("leases", "--state", "ended", "--json").stdout
        assert again.run("lease", "--", "true").returncode == 0
        ended = json.loads(again.run("leases", "--state", "ended", "--json").stdout)
    numbers = sorted(int(lease["cluster"].rpartition("-")[2]) for lease in ended)
    assert numbers[0] == 1
    assert numbers[1] > RESTORE_STEP, "cluster numbers jump ahead"
