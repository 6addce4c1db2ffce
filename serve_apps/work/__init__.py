"""The work behind the API: planning, dispatching, webhooks, erasing and other chores.

Read running.py first (what is started), then dispatcher.py with dispatch_policy.py, prober.py, estimates.py,
webhooks.py with webhook_sender.py, metering.py and erasing.py.
"""
