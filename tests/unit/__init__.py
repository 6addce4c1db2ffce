"""Tests of single files and functions, without a cluster and without a network.

Read them beside the code: each folder here is named like the one that it tests. test_house.py holds the bounds of the
repository, test_documents.py what its documents say.
"""
