"""One segment of one media item through all its analyzers.

Read segment_analyzer.py first: it takes a task (task.py) through its steps. plan.py decides what is to be done
(applicability.py: what an analyzer can do with the media), segment_frames.py with still_images.py and segment_sound.py
decode and analyse, segment_parts.py writes and reports.
"""
