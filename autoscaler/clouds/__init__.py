"""The clouds, one file each, behind one contract.

Read contract.py first, then registry.py, then one cloud. HTTP clouds share http.py and rate_limits.py, and read
what is answered field by field with rows.py. A market has a file of its own: runpod_catalogue.py,
vastai_market.py; Vast.ai's list is read in vastai_contracts.py.
"""
