"""The tests, a folder for each tier.

Read them from the inside out: unit/ (no cluster, no network), contract/ (databases, queues, clouds and decoders that
must all keep one contract), simulation/ (days of a fleet in seconds), browser/ (the page), integration/ (real Ray on
this machine) and linters/. support/ is what they share, waiting.py how they wait. accuracy/, benchmarks/ and chaos/
measure.
"""
