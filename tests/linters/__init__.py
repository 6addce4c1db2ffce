"""The linters as tests: a step of their own in a run of everything, and none of the unit tests.

Read `test_linters.py`: it names the four commands.
"""
