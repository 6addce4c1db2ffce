"""Models below the analyzers: their weights, the devices they run on, and batches that fit the memory.

Read weights.py and devices.py first, then batching.py; each other file is one kind of model.
"""
