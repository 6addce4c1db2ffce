"""The decoders, one file each, and which of them may be trusted with which file.

Read contract.py first, then pyav.py (the exact one) with packets.py and wanted_frames.py; process.py is the program
that runs them apart from everything else, channel.py how it is spoken to.
"""
