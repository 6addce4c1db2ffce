"""Media files that tests make when they need them.

Read `media.py` first: its clips number their frames. Then `corpus.py` (damaged files), `sound.py`, `film.py`
and `gpu.py`.
"""
