"""Media in, records out. Importing this package imports nothing heavy: no torch, no FFmpeg, no Ray."""
