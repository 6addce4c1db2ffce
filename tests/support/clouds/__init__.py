"""Clouds for tests: the real providers against fake servers.

Read `providers.py`, then `kubernetes.py`; `specs.py` checks both sides against the clouds' published specifications.
"""
