"""The whole product under random faults, on the clouds' fake servers: `python -m tests.chaos`.

Read run.py (one run from calm to verdict), stage.py (what runs), schedule.py (which fault when) and verdict.py.
"""
