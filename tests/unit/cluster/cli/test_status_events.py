"""The latest decisions, each in a sentence."""

from rich.console import Console

from cluster.cli.status_table import events_view, status_view


def test_events_name_what_they_are_about_and_why() -> None:
    report = {"events": [{"at": 0.0, "name": "c1-gpu-1", "sentence": "took [L4] of runpod (EU) at 0.5 USD/h"}]}
    console = Console(width=100, record=True)
    console.print(events_view(report))
    said = console.export_text()
    assert "c1-gpu-1" in said
    assert "took [L4] of runpod (EU) at 0.5 USD/h" in said
    console.print(events_view({}))


def test_a_ray_that_has_moved_is_said_in_the_status() -> None:
    report = {"analyses": [], "instances": [], "ray_warnings": ["Ray runs without the patch serve_pacing: it moved"]}
    console = Console(width=100, record=True)
    console.print(status_view(report))
    assert "! Ray runs without the patch serve_pacing: it moved" in console.export_text()
