"""The rules, the dashboard and the documentation name what /metrics really has, all of it, and nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.status.exposed import MONITORING, everything, promtool

DOCUMENTED = MONITORING.parent / "docs" / "metrics.md"
RULES = MONITORING / "mirrord.rules.yml"
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
_NAME = re.compile(r"\b(?:mirrord|process)_[a-z_]+\b")
_ROW = re.compile(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", re.MULTILINE)


def _families() -> dict[str, tuple[str, set[str]]]:
    """Each metric as it is written down: its type and its labels."""
    found = {}
    for family in text_string_to_metric_families(everything().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, {label for each in family.samples for label in each.labels} - {"le"})
    return found


def _samples() -> dict[str, set[str]]:
    """Each series' name and labels."""
    families = text_string_to_metric_families(everything().decode())
    return {each.name: set(each.labels) for family in families for each in family.samples}


def _panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _expressions() -> Iterator[str]:
    for panel in _panels():
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["expr"] for each in DASHBOARD["annotations"]["list"])
    yield from (each["definition"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query")


def test_every_metric_is_documented_as_it_is() -> None:
    rows = _ROW.findall(DOCUMENTED.read_text("utf-8"))

    documented = {name: (kind, set(re.findall(r"`([a-z]+)`", labels))) for name, kind, labels in rows}

    assert documented == _families()
    assert len(rows) == len(documented)


def test_everything_has_at_least_one_sample() -> None:
    empty = [each.name for each in text_string_to_metric_families(everything().decode()) if not each.samples]

    assert empty == []


def test_every_alert_is_documented_and_every_documented_one_exists() -> None:
    alerts = re.findall(r"^ +- alert: (\w+)$", RULES.read_text("utf-8"), re.MULTILINE)

    documented = re.findall(r"\bMirrord[A-Z]\w+", DOCUMENTED.read_text("utf-8"))

    assert set(documented) == set(alerts)
    assert len(alerts) == len(set(alerts))


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(lambda: [RULES.read_text("utf-8")], id="rules"),
        pytest.param(lambda: [(MONITORING / "rules.test.yml").read_text("utf-8")], id="tests of the rules"),
        pytest.param(lambda: list(_expressions()), id="dashboard"),
    ],
)
def test_every_name_that_is_watched_is_one_that_is_shown(texts: Any) -> None:
    named = {name for text in texts() for name in _NAME.findall(text)}

    assert named
    assert named <= _samples().keys()


@pytest.mark.parametrize("text", [pytest.param(RULES.read_text("utf-8"), id="rules"), *_expressions()])
def test_every_label_that_is_watched_is_one_that_is_there(text: str) -> None:
    known = {label for labels in _samples().values() for label in labels} | {"instance", "job"}

    for selector in re.findall(r"(?:mirrord|process)_[a-z_]+\{([^}]*)\}", text):
        assert set(re.findall(r'([a-z_]+)(?:=~|!~|!=|=)"', selector)) <= known
    for grouped in re.findall(r"\bby \(([^)]*)\)", text):
        assert {each.strip() for each in grouped.split(",")} - {""} <= known


def test_prometheus_takes_the_rules() -> None:
    assert promtool("check", "rules", "mirrord.rules.yml") == ""


def test_the_rules_alert_when_they_should_and_not_when_they_should_not() -> None:
    assert promtool("test", "rules", "rules.test.yml") == ""


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """As Grafana 10.3 and later read one: no data source of somebody's own, no two panels in one place."""
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD.get("id") is None
    variables = {each["name"]: each["type"] for each in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query", "mirror": "query"}
    panels = list(_panels())
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} == {"row", "stat", "timeseries"}
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        for each in (panel, *panel.get("targets", ())):
            assert panel["type"] == "row" or each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares)
    used = {name for text in map(json.dumps, panels) for name in re.findall(r"\$\{?([a-z]+)\b", text)}
    assert used <= variables.keys()
