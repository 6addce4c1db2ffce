"""Buys machines while there is work and gives them back.

It knows no media. Read types.py (the nouns) and decisions/decide.py first, then fleet/ (the loop), records/ (the
ledger), clouds/ (one file each), billing/ (what clouds have billed against the ledger), fakes/ and simulation/.
ray_node_provider.py is what Ray's autoscaler calls: a client of the orchestrator.
"""
