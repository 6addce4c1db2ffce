"""Metrics and traces: what is counted and timed, and who is told.

Read measures.py first, then metrics.py (Prometheus) and traces.py with traces_otel.py (OpenTelemetry).
"""
