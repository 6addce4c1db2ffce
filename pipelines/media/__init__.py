"""From a file, an address or an object to frames and sound.

Read sources.py first (what a file is), then sampling.py (which frames), decoders/, isolation.py (decoding in processes
of its own), http_file.py with public_hosts.py, and the arrays: frames.py and sound.py.
"""
