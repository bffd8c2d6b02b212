"""The example alerts ask for metrics that exist, show labels that a result has, and name commands that there are."""

import re
from importlib.resources import files
from typing import Any

import pytest
import yaml

from schemas.metrics import BROKER, CONSUMERS, OF_RECEIVERS
from tests.workers.deploy.expressions import SERIES, labels, mistakes, read, selectors, shown
from workers.cli import COMMANDS

GROUPS: list[dict[str, Any]] = yaml.safe_load((files("workers") / "deploy" / "alerts.yaml").read_text())["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


def test_each_alert_has_a_name_of_its_own() -> None:
    assert len(RULES) == sum(len(group["rules"]) for group in GROUPS)
    assert len({group["name"] for group in GROUPS}) == len(GROUPS)


@pytest.mark.parametrize("name", RULES)
def test_an_alert_asks_for_what_is_measured(name: str) -> None:
    assert mistakes(RULES[name]["expr"]) == []


def test_that_nobody_consumes_is_noticed_where_no_worker_is_there_to_say_so_and_a_receiver_is() -> None:
    expression = RULES["MusterNobodyConsumes"]["expr"]

    assert 'absent(muster_queue_consumers{queue="muster.deliveries"})' in expression
    assert {SERIES[one.name or ""] for one in selectors(read(expression))} == {CONSUMERS, BROKER}
    assert CONSUMERS not in OF_RECEIVERS
    assert BROKER in OF_RECEIVERS


@pytest.mark.parametrize("name", RULES)
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(name: str) -> None:
    rule = RULES[name]
    texts = rule["annotations"]

    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))
    assert set(texts) == {"summary", "description"}
    assert shown(texts["summary"] + texts["description"]) <= labels(rule["expr"])
    assert set(re.findall(r"`muster ([a-z]+)", texts["description"])) <= set(COMMANDS)
