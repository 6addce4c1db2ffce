"""Ray through the overlay, in network namespaces behind a NAT.

Read `test_overlay_tunnel.py` (no Ray), then `test_overlay_cluster.py`.
"""
