"""The commands of `aima`, a file for each group.

A file holds `app = typer.Typer()` and its commands; cli.py lists it. What they share with people is in terminal.py.
"""
