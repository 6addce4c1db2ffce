"""Unit tests of `cluster/worker`, one file a subject; read them beside that folder."""
