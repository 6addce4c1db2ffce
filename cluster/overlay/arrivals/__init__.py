"""Who dials the hub, until it has shown who it is.

Read door.py first, then crowd.py (who has to go when too many wait) and doorkeeper.py (who decides).
"""
