"""The whole product under random faults, on the clouds' fake servers: `python -m tests.chaos`."""
