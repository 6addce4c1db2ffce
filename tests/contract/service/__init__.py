"""Contracts with the running service: clients, restarts, kills and traces.

Read `test_clients.py` first.
"""
