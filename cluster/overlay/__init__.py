"""Addresses and, for rented machines, the tunnel that makes them reachable."""
