"""Unit tests of `tests/chaos`, one file a subject; read them beside that folder."""
