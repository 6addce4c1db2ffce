"""The backends behind one URL each: objects, the database, the message queue, and backups of the database.

Read object_storage.py first, then database.py, tickets.py, api_keys.py and backup.py.
"""
