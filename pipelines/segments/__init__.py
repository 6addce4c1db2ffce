"""One segment of one media item through all its analyzers.

Read segment_analyzer.py first, then task.py (what goes in and comes out), applicability.py (which analyzers have
something to look at), segment_sound.py and still_images.py.
"""
