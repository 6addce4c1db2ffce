"""The clouds, one file or folder each, behind one contract.

Read contract.py first, then registry.py, then one cloud. HTTP clouds share http.py and rate_limits.py, and read what is
answered field by field with rows.py.
"""
