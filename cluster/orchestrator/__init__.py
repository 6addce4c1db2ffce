"""The process that may spend money, beside Ray and out of its reach.

Read process.py first, then orchestrator.py with api.py, cloud_factory.py with unreachable.py, overlay_server.py with
enrolment.py, join_tokens.py and guest_events.py, metrics.py, bills.py, and last what works without the process:
ledger_file.py and sweep.py.
"""
