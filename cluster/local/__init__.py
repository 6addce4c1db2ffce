"""A whole cluster on one machine, its proved end, and the demonstrations on it.

Read embedded.py first with ending.py and stopping.py, then demo.py, fake_cloud.py, processes.py and listening.py.
"""
