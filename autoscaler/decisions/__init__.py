"""Decisions without I/O: what is seen and the time come in as values, commands go out as values.

Read decide.py with commands.py first, then listed.py, absences.py and promises.py (what lists say), budget.py,
selection.py with needs.py, quarantine.py and races.py.
"""
