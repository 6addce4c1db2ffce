"""The loop that observes the clouds, decides and acts, and the records it keeps.

Read reconciler.py first, with spec.py (its rules), then watch.py and second_looks.py (observing), purchasing.py and
terminations.py (acting), demand.py and reports.py (what Ray and the machines say), launches.py with journal.py,
ledger.py, sentences.py and history.py (records), node_activity.py (what Ray reports), view.py and measures.py (what
others see).
"""
