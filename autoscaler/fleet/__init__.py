"""The loop that observes the clouds, decides and acts.

Read reconciler.py first, with spec.py (its rules), then watch.py and second_looks.py (observing), purchasing.py and
terminations.py (acting), demand.py and reports.py (what Ray and the machines say), launches.py (all
launches that are not over; ../records keeps them), node_activity.py (what Ray reports), view.py and measures.py (what
others see).
"""
