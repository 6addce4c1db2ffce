"""The database: its tables, and the queries that make, read and change analyses, uploads and keys.

Read tables.py first, then analysis_store.py, lifecycle.py, status_queries.py and listing.py; migrations/ changes the
schema.
"""
