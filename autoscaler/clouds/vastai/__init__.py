"""Vast.ai: machines of many hosts, found by search and rented by id.

Read provider.py first, then market.py (offers) and contracts.py (what is listed).
"""
