"""RunPod: pods of GPU types in two tiers.

Read provider.py first, then catalogue.py (offers).
"""
