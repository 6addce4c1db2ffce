"""Unit tests of `cluster/overlay`, one file a subject; read them beside that folder."""
