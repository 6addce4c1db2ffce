"""The HTTP API: routes, what they are given and what they answer.

Read app.py first, then routes/, schemas.py, context.py (what routes share), auth.py, problems.py and views.py.
"""
