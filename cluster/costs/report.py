"""Reads the price table and the configuration, and puts all sums together for the terminal, for JSON and for a plot."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from cluster.costs.model import (
    Bill,
    GpuUse,
    PriceTableError,
    break_even_purchases_per_month,
    break_even_work_s,
    estimates,
    idle_bill,
)


@dataclass(frozen=True)
class Report:
    """Every sum that `aima costs` shows. Bills are in their own currencies, GPUs in USD per hour."""

    dated: str
    hours_per_month: float
    usd_per_eur: float
    estimates: tuple[Bill, ...]
    idle: tuple[Bill, ...]
    gpu: str
    usd_per_hour: float
    serverless_usd_per_hour: float | None
    use: GpuUse
    purchases_break_even: float
    work_break_even_s: float | None

    def in_usd(self, bill: Bill) -> float:
        """The bill's sum in USD, by the assumed rate where it is in EUR. Raises PriceTableError for others."""
        rates = {"USD": 1.0, "EUR": self.usd_per_eur}
        if bill.currency not in rates:
            raise PriceTableError(f"{bill.title}: currency {bill.currency!r} is not one of {', '.join(rates)}")
        return bill.per_month * rates[bill.currency]

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "dated": self.dated,
            "usd_per_eur": self.usd_per_eur,
            "estimates": [self._bill(bill) for bill in self.estimates],
            "idle": [self._bill(bill) for bill in self.idle],
            "on_demand": {
                "gpu": self.gpu,
                "usd_per_hour": self.usd_per_hour,
                "work_alone_usd": GpuUse(0, self.use.work_s, 0).cost_usd(self.usd_per_hour),
                "with_boot_and_tail_usd": self.use.cost_usd(self.usd_per_hour),
                "always_on_usd_per_month": self.usd_per_hour * self.hours_per_month,
                "break_even_purchases_per_month": self.purchases_break_even,
                "serverless_usd_per_hour": self.serverless_usd_per_hour,
                "break_even_work_s_against_serverless": self.work_break_even_s,
            },
            "answers": self._answers(),
        }

    def _bill(self, bill: Bill) -> dict[str, Any]:
        items = [{"name": i.name, "per_month": i.per_month, "source": i.source} for i in bill.items]
        sums = {"per_month": round(bill.per_month, 2), "usd_per_month": round(self.in_usd(bill), 2)}
        return {"title": bill.title, "currency": bill.currency, **sums, "items": items}

    def _answers(self) -> dict[str, str]:
        use, price, gpu = self.use, self.usd_per_hour, self.gpu
        overhead = f"{use.boot_s:g} s of boot and {use.tail_s:g} s of idle tail"
        work_usd = GpuUse(0, use.work_s, 0).cost_usd(price)
        answers = {
            f"{use.work_s:g} s of work on {gpu} at {price:g} USD/h": f"{work_usd:.2f} USD",
            f"the same with {overhead}": f"{use.cost_usd(price):.4f} USD",
            "that GPU, always on": f"{price * self.hours_per_month:.2f} USD a month",
            "break-even with always-on": f"{self.purchases_break_even:.0f} such purchases a month",
        }
        if self.serverless_usd_per_hour is not None:
            least = self.work_break_even_s
            answers[f"cheaper than serverless at {self.serverless_usd_per_hour:g} USD/h that bills work alone"] = (
                "never" if least is None else f"from {least:.0f} s of work per purchase"
            )
        return answers


def report(
    prices: Path | None,
    configuration: Path | None,
    gpu: str,
    use: GpuUse,
    usd_per_eur: float | None = None,
) -> Report:
    """All sums. Raises PriceTableError naming what is missing in which file."""
    table, shape = _read(prices, "prices.yaml"), _read(configuration, "base_configuration.yaml")
    if gpu not in table["gpus"]:
        raise PriceTableError(f"GPU {gpu!r} has no price; the table has: {', '.join(table['gpus'])}")
    usd_per_hour = float(table["gpus"][gpu]["usd_per_hour"])
    serverless = table.get("serverless_gpus", {}).get(gpu)
    serverless_price = None if serverless is None else float(serverless["usd_per_hour"])
    return Report(
        dated=str(table["dated"]),
        hours_per_month=float(table["hours_per_month"]),
        usd_per_eur=usd_per_eur or float(table["usd_per_eur"]),
        estimates=tuple(estimates(table)),
        idle=tuple(idle_bill(table, provider, shape) for provider in table["providers"]),
        gpu=gpu,
        usd_per_hour=usd_per_hour,
        serverless_usd_per_hour=serverless_price,
        use=use,
        purchases_break_even=break_even_purchases_per_month(table, usd_per_hour, use),
        work_break_even_s=None if serverless_price is None else break_even_work_s(usd_per_hour, serverless_price, use),
    )


def _read(path: Path | None, packaged: str) -> Mapping[str, Any]:
    source = files("cluster.costs") / packaged if path is None else path
    try:
        document = yaml.safe_load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise PriceTableError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise PriceTableError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise PriceTableError(f"{path}: expected `key: value` lines, got {type(document).__name__}")
    return _Named(document, str(path or packaged))


class _Named(dict[str, Any]):
    """A document that says which file lacks a section."""

    def __init__(self, document: Mapping[str, Any], name: str) -> None:
        super().__init__(document)
        self._name = name

    def __missing__(self, key: str) -> Any:
        raise PriceTableError(f"{self._name}: `{key}` is missing; AIMA's own file in cluster/ shows what it looks like")
