"""Programs that measure, each with `python -m tests.benchmarks.NAME`.

Read MEASURED.md for what they said, then the file of the same name.
"""
