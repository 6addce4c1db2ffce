"""A worker's machine from its first process to its end.

Read rented_entrypoint.py (joins through the overlay) and local_entrypoint.py (same machine) first, then preflight.py,
ray_node.py, self_termination.py and loopback_device.py.
"""
