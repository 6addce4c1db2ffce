"""The queue of segments: claims under leases, completions that count once, and hints that there is work.

Read contract.py first, then database_queue.py with rows.py and completion.py; tickets.py are the hints.
"""
