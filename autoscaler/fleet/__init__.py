"""The loop that observes the clouds, decides and acts, and the records it keeps.

Read reconciler.py first, then watch.py and second_looks.py (observing), purchasing.py (buying), launches.py with
ledger.py and sentences.py (records), node_activity.py (what Ray reports), view.py and measures.py (what others see).
"""
