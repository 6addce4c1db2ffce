"""Thousands of media as one Ray Data job.

Read run.py first, then job.py (the values), segments.py and still_images.py (the two kinds of work), outcomes.py
(resuming) and command_line.py.
"""
