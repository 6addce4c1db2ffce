"""Unit tests of `cluster/cli`, one file a subject; read them beside that folder."""
