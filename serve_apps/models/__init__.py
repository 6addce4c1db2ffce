"""The Serve deployments that run models on workers.

Read segments.py first: it is what requests reach.
"""
