"""Clouds to try everything with and without an account: HTTP servers that keep the real ones' published contracts."""
