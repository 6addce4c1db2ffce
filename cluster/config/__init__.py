"""What a cluster can be told: settings, the clouds' keys, and what follows from them for processes and nodes.

Read schema.py first (every setting) with request_settings.py (those of requests) and contradictions.py (which do not
fit together), then loader.py (aima.yaml and variables), credentials.py, state_directory.py, node_resources.py and
child_environment.py.
"""
