"""The dashboard and the alerts: every expression parses, and asks for what /metrics really has."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.support.manifests import K8S
from tests.support.product.expositions import exposition, families
from tests.support.product.service import Running, running_service

ROOT = K8S.parent
FOLDER = K8S / "components" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
RULES = [r for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]["groups"] for r in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {f"{p['title']}, {t['refId']}": t["expr"] for p in PANELS for t in p["targets"]}
EXPRESSIONS = QUERIES | {rule["alert"]: rule["expr"] for rule in RULES}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, str]]]:
    """Everything that /metrics answers once a little of everything has happened."""
    with running_service(tmp_path_factory.mktemp("service")) as service:
        return all_samples(service)


def all_samples(service: Running) -> list[tuple[str, dict[str, str]]]:
    service.http.get("/v1/analyses/an_0123456789abcdef")
    return [(s.name, s.labels) for family in families(exposition(service)).values() for s in family.samples]


def selectors(expression: str) -> Iterator[Any]:
    """Every selector of a metric in it. Grafana's own variables stand for a time."""
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(re.sub(r"\$__\w+", "5m", expression)), visit)
    yield from found


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_every_expression_parses_and_finds_something(
    expression: str, samples: list[tuple[str, dict[str, str]]]
) -> None:
    asked = list(selectors(expression))
    assert asked
    for selector in asked:
        equal = {m.name: m.value for m in selector.matchers.matchers if str(m.op) == "MatchOp.Equal"}
        assert any(name == selector.name and equal.items() <= labels.items() for name, labels in samples), selector


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_what_is_grouped_by_is_a_label_of_the_metric(
    expression: str, samples: list[tuple[str, dict[str, str]]]
) -> None:
    known = {label for name, labels in samples for label in labels}
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", labels)) <= known


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == ("aima", 42)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert {t["datasource"]["uid"] for t in panel["targets"]} == {"${datasource}"}, panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]


def test_no_panel_lies_on_another_and_no_row_has_a_gap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    rows = 1 + max(y for _x, y in taken)
    assert len(taken) == 24 * rows


def test_panels_come_in_the_order_in_which_a_person_asks() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    words = ("waiting", "billed", "budget", "start", "done", "fails")
    assert len(rows) == len(words)
    assert all(word in row for word, row in zip(words, rows, strict=True))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_is_wrong_and_where_the_way_out_stands(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.M)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = {label for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for label in re.split(r",\s*", labels)}
    assert used <= kept or " by " not in rule["expr"]
