"""Tests of what several implementations promise alike, against real servers and strict fakes.

Read stores/test_store.py and clouds/test_cloud_providers.py first: each runs one suite over every implementation.
databases.py makes the databases.
"""
