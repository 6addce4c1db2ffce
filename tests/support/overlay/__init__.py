"""The overlay in network namespaces, without and with a cluster.

Read `namespaces.py`, then `hosts.py` and `peer.py`. `intruder.py` and `guests.py` attack, `links.py` cuts
connections, and `overlaid.py` adds Ray.
"""
