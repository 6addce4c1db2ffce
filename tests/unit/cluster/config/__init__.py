"""Unit tests of `cluster/config`, one file a subject; read them beside that folder."""
