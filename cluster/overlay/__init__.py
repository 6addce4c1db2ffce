"""Addresses and, for rented machines, the tunnel that makes them reachable.

Read addresses.py first (who has which ports), then hub.py with hub_connection.py (the head's side), spoke.py with
peer_listeners.py (a worker's side), control.py (what they tell each other), arrivals/ (who gets in), streams/ (what
they carry) and SECURITY.md (what strangers can do). authorisation.py, backoff.py, ports.py and ssh.py are the small
parts.
"""
