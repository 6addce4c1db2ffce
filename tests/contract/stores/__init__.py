"""Contracts with what keeps data: databases, queues, documents, storage and backups.

Read `test_store.py` first; `tests/contract/databases.py` makes the databases.
"""
