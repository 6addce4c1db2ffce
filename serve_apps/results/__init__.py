"""Results as they lie in storage: written by workers, summed up, and read back.

Read objects.py first (the storage's contract), then worker_access.py, parts.py and summaries.py.
"""
