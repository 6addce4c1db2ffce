"""Ray's head: how it is started, kept running and ended.

Read start.py first, then supervisor.py (its first process), kubernetes_entrypoint.py, memory.py and api_health.py.
"""
