"""Clouds to try everything with and without an account: HTTP servers that keep the real ones' published contracts.

Read account.py (machines, stock and the bill), then runpod.py or vastai.py (the APIs); control.py makes them fail on
command, serving.py runs them.
"""
