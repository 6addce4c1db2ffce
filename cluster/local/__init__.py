"""A whole cluster on one machine, and the demonstrations on it.

Read embedded.py first, then demo.py, fake_cloud.py, processes.py and listening.py.
"""
