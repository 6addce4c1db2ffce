"""From a file, an address or an object to frames and sound.

Read addresses.py (where a file is) and sources.py (what it is) first, then sampling.py (which frames), decoders/,
isolation.py (decoding in processes of its own), http_file.py with public_transport.py and public_hosts.py, and the
arrays: frames.py and sound.py.
"""
