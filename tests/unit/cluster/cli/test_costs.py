"""The founding tables to the cent, and the sums beside them."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.main import app
from cluster.costs.model import GpuUse, PriceTableError, allocatable_gib, holding_node, pod_size
from cluster.costs.plot import draw
from cluster.costs.report import Report, report

FIVE_MINUTES = GpuUse(boot_s=25, work_s=300, tail_s=10)


@pytest.fixture
def found() -> Report:
    return report(None, None, "RTX 4090", FIVE_MINUTES)


def test_the_founding_tables_are_reproduced_exactly(found: Report) -> None:
    aws, ionos = found.estimates
    assert [item.per_month for item in aws.items] == [73, 20, 3, 15, 15, 21]
    assert (aws.per_month, ionos.per_month) == (147, 48)
    assert round(GpuUse(0, 300, 0).cost_usd(found.usd_per_hour), 2) == 0.06


def test_boot_and_idle_tail_are_billed_too(found: Report) -> None:
    assert found.use.cost_usd(0.74) == pytest.approx(0.74 * 335 / 3600)


def test_both_providers_count_the_queue_and_the_entrance(found: Report) -> None:
    for bill in found.idle:
        names = " ".join(item.name for item in bill.items)
        assert "message queue" in names
        assert "entrance" in names
        assert all(item.source for item in bill.items)


def test_the_ionos_node_really_holds_the_base(found: Report) -> None:
    node = next(item for item in found.idle[0].items if item.name.startswith("node"))
    assert "2 vCPU / 4 GB" in node.name
    assert node.per_month == pytest.approx(0.032 * 730)


def test_a_node_keeps_memory_for_itself() -> None:
    assert allocatable_gib(4) == pytest.approx(3.0)
    assert allocatable_gib(8) == pytest.approx(6.2)
    small, large = (
        {"name": "s", "vcpus": 2, "gib": 2, "per_month": 1},
        {"name": "l", "vcpus": 2, "gib": 4, "per_month": 2},
    )
    assert holding_node([small, large], 1, 1600, 730) is large
    with pytest.raises(PriceTableError, match="no node of the table holds 4 vCPUs and 10 MiB"):
        holding_node([small, large], 4, 10, 730)


def test_a_fargate_pod_is_billed_as_the_size_that_holds_it_and_256_mb_more() -> None:
    sizes = [{"vcpus": 0.25, "gib": [0.5, 1, 2]}, {"vcpus": 0.5, "gib": [1, 2, 3, 4]}]
    prices = {"per_vcpu_hour": 0.04048, "per_gib_hour": 0.004445, "overhead_gib": 0.25, "sizes": sizes}
    assert pod_size(prices, 0.1, 700) == (0.25, 1)
    assert pod_size(prices, 0.1, 800) == (0.25, 2)
    assert pod_size(prices, 0.1, 2000) == (0.5, 3)
    with pytest.raises(PriceTableError, match=r"5\.25 GiB"):
        pod_size(prices, 0.1, 5120)


def test_rabbitmq_is_paid_for_where_it_is_managed(tmp_path: Path) -> None:
    shape = yaml.safe_load(Path("cluster/costs/base_configuration.yaml").read_text())
    path = tmp_path / "rabbit.yaml"
    path.write_text(yaml.safe_dump(shape | {"queue": "rabbitmq"}))
    plain, rabbit = (report(None, p, "RTX 4090", FIVE_MINUTES).idle[-1] for p in (None, path))
    assert rabbit.per_month - plain.per_month == pytest.approx(20)


def test_break_even(found: Report) -> None:
    each = found.use.cost_usd(found.usd_per_hour)
    assert found.purchases_break_even * each == pytest.approx(found.usd_per_hour * 730)
    work_s = found.work_break_even_s
    assert work_s is not None
    at_break_even = GpuUse(25, work_s, 10).cost_usd(0.74)
    assert at_break_even == pytest.approx(1.116 * work_s / 3600)


def test_json_holds_every_sum() -> None:
    result = CliRunner().invoke(app, ["costs", "--json", "--work-s", "60", "--usd-per-eur", "1.5"])
    assert result.exit_code == 0, result.output
    sums = json.loads(result.output)
    assert [bill["per_month"] for bill in sums["estimates"]] == [147, 48]
    assert sums["idle"][0]["usd_per_month"] == pytest.approx(1.5 * sums["idle"][0]["per_month"], abs=0.02)
    assert sums["on_demand"]["with_boot_and_tail_usd"] == pytest.approx(0.74 * 95 / 3600)


def test_the_tables_are_markdown() -> None:
    result = CliRunner().invoke(app, ["costs"])
    assert result.exit_code == 0, result.output
    for words in ("**147.00**", "**48.00**", "0.06 USD", "0.0689 USD"):
        assert words in result.output


def test_the_plot_is_a_picture(found: Report, tmp_path: Path) -> None:
    draw(found, tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dated: 2026-01-01\n", "`gpus` is missing"),
        ("- a\n", "expected `key: value`"),
        ("a: [\n", "not valid YAML"),
        ("gpus: {RTX 3060: {usd_per_hour: 1}}\n", "'RTX 4090' has no price; the table has: RTX 3060"),
    ],
)
def test_a_wrong_price_table_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(PriceTableError, match=says):
        report(tmp_path / "p.yaml", None, "RTX 4090", FIVE_MINUTES)


def test_the_readmes_table_is_the_tools_own_output() -> None:
    readme = Path("README.md").read_text()
    rows = [line.rstrip() for line in CliRunner().invoke(app, ["costs"]).output.splitlines() if line.startswith("|")]
    quoted = rows[: next(i for i, row in enumerate(rows) if "question" in row)]
    assert len(quoted) > 5
    assert [row for row in quoted if row not in readme] == []
