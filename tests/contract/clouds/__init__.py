"""Contracts with clouds: every provider against its fake server, and every failure seen in the field.

Read `test_cloud_providers.py` first: it is what each cloud must pass.
"""
