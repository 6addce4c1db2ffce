"""Tests of the page in a real Chromium, with the real service behind it.

Read conftest.py (browser and service), then test_page.py.
"""
