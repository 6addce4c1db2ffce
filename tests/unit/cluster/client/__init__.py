"""Unit tests of `cluster/client`, one file a subject; read them beside that folder."""
