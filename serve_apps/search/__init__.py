"""Search in what was found.

Read documents.py first, then indexer.py (what is indexed), terms.py (words) and documents_mongo.py.
"""
