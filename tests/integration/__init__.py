"""Tests of a whole cluster on this machine: Ray, Serve, the orchestrator and local workers.

Read conftest.py (the clusters), then test_first_light.py (the three interfaces from zero and back); overlay/ runs the
same through network namespaces.
"""
