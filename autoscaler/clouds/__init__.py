"""The clouds, one file each, behind one contract.

Read contract.py first, then registry.py, then one cloud. HTTP clouds share http.py and rate_limits.py.
"""
