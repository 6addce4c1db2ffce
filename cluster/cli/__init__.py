"""The command `aima`: one file for each group of commands.

Read main.py first. A file holds `app = typer.Typer()` and its commands; main.py lists it. terminal.py has what they
share: options, the console and exit codes.
"""
