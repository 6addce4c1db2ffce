"""HTTP in, results out: the API, what it stores, and the work that moves analyses on.

Read api/ first (what is asked for), then store/ and queue/ (the database is the truth), work/ (dispatching), models/
(what runs on workers), results/ and search/; web/ is the page for people. analyses.py holds the values that all share.
"""
