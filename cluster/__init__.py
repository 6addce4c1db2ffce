"""Puts everything together: settings, Ray's head, the orchestrator, workers, the command line and the Python client.

Read local/ first (a whole cluster on one machine), then head/, orchestrator/ with overlay/, worker/ and service/.
config/ holds the settings, storage/ the backends behind one URL each, ray_patches/ what differs from stock Ray,
cli/ and client/ are what users call; costs/ and doctor/ answer their questions.
"""
