"""What the overlay carries, in bounded memory.

Read splice.py first (two ends joined), then congestion.py (a connection that takes no more), memory.py (the hub's
budget) and channels.py (asyncssh's channels within that budget).
"""
