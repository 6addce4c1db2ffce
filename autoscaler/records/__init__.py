"""What is kept of machines and money: the ledger, and how it is written without holding up the loop.

Read ledger.py first (tables and queries), then journal.py (writes in order, beside the event loop), history.py (what
views and budgets read from memory) and sentences.py (what events may say).
"""
