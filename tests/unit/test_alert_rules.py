"""The rules for Prometheus speak of metrics that the documentation has."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "gristmill.rules.yml"


def test_every_metric_of_a_rule_is_documented() -> None:
    documented = set(re.findall(r"gristmill_\w+", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")))
    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == ["GristmillRecallBelowTarget"]
    for rule in rules:
        named = set(re.findall(r"gristmill_\w+", rule["expr"]))
        assert named
        assert named <= documented
        assert {"summary", "description"} <= rule["annotations"].keys()
