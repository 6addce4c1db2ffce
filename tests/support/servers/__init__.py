"""Servers that tests start beside themselves.

Each file is one server: `http_server.py`, `guarded_s3.py`, `mongo_wire.py`, `small_postgres.py`,
and `kill_server.py` (the API, made to be killed).
"""
