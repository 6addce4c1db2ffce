"""The process that may spend money, beside Ray and out of its reach.

Read process.py first, then orchestrator.py with api.py, cloud_factory.py, overlay_server.py with enrolment.py,
join_tokens.py and guest_events.py, metrics.py and sweep.py.
"""
