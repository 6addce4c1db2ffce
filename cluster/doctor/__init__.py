"""What `aima doctor` checks before money is spent.

Read checks.py first (pure), then probes.py (what is looked at).
"""
