"""The product as tests use it.

Read `service.py` (the API on parts that tests set), then `serving.py` (with dispatcher and models). `chromium.py` opens
the page, `jobs.py` submits batch jobs, `expositions.py` renders metrics.
"""
