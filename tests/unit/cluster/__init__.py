"""Unit tests of `cluster`, one file a subject; read them beside that folder."""
