"""What is written: Parquet parts, insights as JSON, manifests with checksums, and where each came from.

Read sinks.py first, then results.py, insights.py and provenance.py.
"""
