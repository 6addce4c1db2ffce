"""Everything that differs from stock Ray, and the programs that start Ray with it.

Read start_head.py and start_worker.py first, then what they apply.
"""
