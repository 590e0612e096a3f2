"""The alert rules: well formed, and each fires when it should and not when it should not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool.metrics.gauges import ROWS
from pool.metrics.series import Series
from tests.deploy.alert_cases import CASES, Case

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "chart" / "files" / "warmpool.rules.yaml"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: sudo apt-get install prometheus"
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.prometheus
@needs_promtool
def test_promtool_finds_the_rules_well_formed() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(FILE))


def expected(case: Case) -> dict[str, Any]:
    """Return the alert as promtool expects it: with all its labels and all that it says."""
    rule = RULES[case.alert]
    labels = case.labels | rule["labels"] | ({"job": "warmpool", "namespace": "ml"} if case.job else {})
    said = {
        name: re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": labels, "exp_annotations": said | {"description": case.says}}


def history(case: Case, series: dict[str, str], *alerts: dict[str, Any]) -> dict[str, Any]:
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": list(alerts)}],
    }


def run(tests: list[dict[str, Any]], directory: Path) -> None:
    file = directory / "test.yaml"
    text = {"rule_files": [str(FILE)], "evaluation_interval": "30s", "tests": tests}
    file.write_text(yaml.safe_dump(text, sort_keys=False))
    promtool("test", "rules", str(file))


@pytest.mark.prometheus
@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_the_alert_fires_and_says_what_and_how_much(case: Case, tmp_path: Path) -> None:
    run([history(case, case.fires, expected(case))], tmp_path)


@pytest.mark.prometheus
@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_the_alert_does_not_fire_without_its_cause(case: Case, tmp_path: Path) -> None:
    run([history(case, series) for series in case.quiet], tmp_path)


@pytest.mark.prometheus
@needs_promtool
def test_a_healthy_day_raises_no_alert(tmp_path: Path) -> None:
    healthy: dict[str, str] = {}
    for case in CASES:
        for series in case.fires:
            labels = series.partition("{")[2]
            name = series.partition("{")[0]
            if name in ("warmpool_ready", "warmpool_config_last_reload_ok"):
                healthy[series] = "1x2880"
            elif "timestamp" in name:
                healthy[series] = "0+30x2880"
            elif "target" in name:
                healthy[series] = "300x2880"
            elif name in ("warmpool_cluster_starts_total", "warmpool_wait_seconds_bucket") or "clean" in labels:
                healthy[series] = "0+2x2880"
            else:
                healthy[series] = "0x2880"
    checks = [{"eval_time": f"{hour}h", "alertname": alert, "exp_alerts": []} for hour in (1, 7, 23) for alert in RULES]
    series = [{"series": name, "values": values} for name, values in healthy.items()]
    run([{"interval": "30s", "input_series": series, "alert_rule_test": checks}], tmp_path)


def test_every_alert_has_a_case_and_every_case_an_alert() -> None:
    assert {case.alert for case in CASES} == set(RULES)
    assert all(case.fires and case.quiet for case in CASES)


@pytest.mark.parametrize("alert", RULES)
def test_the_alert_says_what_is_wrong_how_much_and_where_to_read_on(alert: str) -> None:
    rule = RULES[alert]
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "runbook_url"}
    assert said["summary"].endswith(".")
    assert "$value" in said["description"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert said["runbook_url"] == f"docs/operating.md#{alert.lower()}"


@pytest.mark.parametrize("alert", RULES)
def test_the_rule_asks_for_metrics_that_exist(alert: str) -> None:
    known = {row.name for row in [*Series("", 0.0).rows, *ROWS]}
    known |= {f"{row.name}_bucket" for row in Series("", 0.0).rows if row.type == "histogram"}
    asked = set(re.findall(r"\bwarmpool_\w+", RULES[alert]["expr"]))
    assert asked
    assert asked <= known
