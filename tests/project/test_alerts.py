"""The alert rules and the dashboard name only figures that a scrape has, and each alarm is raised when it should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from builds.models import Worker
from builds.record.exposition import REGISTRY

DEPLOY = Path(__file__).parents[2] / "deploy"
OPERATIONS = DEPLOY.parent / "docs" / "operations.md"
RULES: list[dict[str, Any]] = YAML(typ="safe").load(DEPLOY / "alerts.yml")["groups"][0]["rules"]
# Prometheus' own figure, and the labels that it adds.
OWN, OWN_LABELS = {"up"}, {"job", "instance"}
HISTOGRAM = ("_bucket", "_count", "_sum")
SELECTOR = re.compile(r"\b(up|jobsite_\w+)(?:\{([^}]*)\})?")


def dashboard() -> Iterator[str]:
    for panel in json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def expressions() -> list[str]:
    return [*(rule["expr"] for rule in RULES), *dashboard()]


@pytest.fixture
def labels(db: None) -> dict[str, set[str]]:
    """Every sample of a scrape, with the names of its labels."""
    at = timezone.now()
    Worker.objects.create(name="h:1", host="h", pid=1, started_at=at, seen_at=at)
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_metric_and_label_of_rules_and_dashboard_is_in_a_scrape(labels: dict[str, set[str]]) -> None:
    found = [match for expression in expressions() for match in SELECTOR.finditer(expression)]
    assert len(found) > 40
    for match in found:
        name, matchers = match[1], match[2] or ""
        assert name in labels.keys() | OWN, name
        assert (
            set(re.findall(r"(\w+)=~?\"", matchers)) | set(re.findall(r"(\w+)!=", matchers))
            <= labels.get(name, set()) | OWN_LABELS
        ), match[0]


def test_every_metric_is_in_the_table_of_the_operators(labels: dict[str, set[str]]) -> None:
    rows = re.findall(r"^\| `(jobsite_\w+)` \|([^|]*)\|", OPERATIONS.read_text(), re.MULTILINE)
    table = {name: set(re.findall(r"`(\w+)`", words)) for name, words in rows}
    scraped: dict[str, set[str]] = {}
    for name, own in labels.items():
        whole = next((name.removesuffix(end) for end in HISTOGRAM if name.endswith(end)), name)
        scraped[whole] = own - {"le"}
    assert table == scraped


def test_every_alarm_is_explained_to_the_operators() -> None:
    section = OPERATIONS.read_text().partition("### Alarms")[2].partition("\n## ")[0]
    explained = [name for row in re.findall(r"^\| (`\w+`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert explained == [rule["alert"] for rule in RULES]


def test_every_alarm_has_a_test_in_which_it_is_raised() -> None:
    tests = YAML(typ="safe").load(DEPLOY / "alerts.test.yml")["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    raised = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert raised == silent == {rule["alert"] for rule in RULES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_rules_do_what_their_tests_say() -> None:
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        done = subprocess.run(["promtool", *command], cwd=DEPLOY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
