"""What runs on Ray Serve, put together from the settings.

Read deployments.py first, then settings.py (how the service is told), analyzer_catalog.py and fleet_client.py.
"""
