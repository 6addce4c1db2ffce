"""What clouds have really billed, held against the ledger, which is an estimate until then.

Read comparison.py (the sums, pure) first, then reconciliation.py (once a day) and records.py (its tables); the bills of
the clouds are read by runpod.py and vastai.py.
"""
