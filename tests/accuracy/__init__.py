"""How right the analyzers are, on samples whose truth is known by construction or by the picture's own title.

Read measures.py first, then test_accuracy.py. Each measure has a bound that a test holds;
`python -m tests.benchmarks.accuracy` prints them all.
"""
