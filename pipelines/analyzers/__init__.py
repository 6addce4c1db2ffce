"""Analyzers: each turns a segment's frames, or its sound, into a table of records.

Read contract.py first, then registry.py (names), brightness.py (one to copy), per_frame.py (the common base) and
options.py. Each other file is one analyzer.
"""
