"""The example dashboard asks for metrics that exist, shows all of them, and fits on its page."""

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

from schemas.metrics import METRICS
from tests.workers.deploy.expressions import SERIES, labels, mistakes, read, selectors, shown

BOARD: dict[str, Any] = json.loads((files("workers") / "deploy" / "dashboard.json").read_text())
PANELS = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] != "row"}


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_asks_for_what_is_measured_and_names_its_lines_by_labels_that_they_have(title: str) -> None:
    for target in PANELS[title]["targets"]:
        assert mistakes(target["expr"]) == []
        assert shown(target["legendFormat"]) <= labels(target["expr"])


def test_every_metric_has_a_panel() -> None:
    asked = {SERIES[one.name or ""] for panel in PANELS.values() for target in panel["targets"] for one in selectors(read(target["expr"]))}

    assert set(METRICS) <= asked


def test_no_panel_lies_on_another_and_each_has_an_id_of_its_own() -> None:
    places = [panel["gridPos"] for panel in BOARD["panels"]]
    taken = Counter((x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))

    assert max(taken.values()) == 1
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert len(PANELS) == sum(panel["type"] != "row" for panel in BOARD["panels"])


def test_the_data_source_is_the_readers_choice() -> None:
    assert [one["name"] for one in BOARD["templating"]["list"]] == ["datasource"]
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS.values())
