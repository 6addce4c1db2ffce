"""The latest decisions, each in a sentence."""

from rich.console import Console

from cluster.cli.status_table import events_view


def test_events_name_what_they_are_about_and_why() -> None:
    report = {"events": [{"at": 0.0, "name": "c1-gpu-1", "sentence": "took [L4] of runpod (EU) at 0.5 USD/h"}]}
    console = Console(width=100, record=True)
    console.print(events_view(report))
    said = console.export_text()
    assert "c1-gpu-1" in said
    assert "took [L4] of runpod (EU) at 0.5 USD/h" in said
    console.print(events_view({}))
