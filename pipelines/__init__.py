"""Media in, records out.

It knows no HTTP API and no cloud; importing it imports no torch, no FFmpeg and no Ray.

Read segments/ first (one segment from plan to parts), then media/ (files to frames and sound), analyzers/ and models/,
records/ (Parquet and JSON) and batch/ (thousands of media as one job). video.py, images.py and audio.py are command
lines.
"""
