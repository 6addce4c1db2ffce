"""Tests of the whole fleet on a clock of its own: days in seconds, against clouds that fail.

Read world.py (the fleet and its clouds), then test_reconciler.py; schedules.py plays thousands of random cases.
"""
