"""Unit tests of `cluster/orchestrator`, one file a subject; read them beside that folder."""
