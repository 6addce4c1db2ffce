"""Contracts with media: every decoder on every clip, damaged files, and files behind URLs.

Read `test_decoders.py` first.
"""
