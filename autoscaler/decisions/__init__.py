"""Decisions without I/O: what is seen and the time come in as values, commands go out as values.

Read decide.py first, then budget.py, selection.py with needs.py, quarantine.py and races.py.
"""
