"""Days of work in seconds: recorded or made-up arrivals through the real decisions, on fake clouds and a fake clock.

Read run.py first, then arrivals.py (the traces, shipped as CSV) and virtual_time.py (an event loop that never waits).
"""
