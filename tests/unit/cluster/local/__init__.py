"""Unit tests of `cluster/local`, one file a subject; read them beside that folder."""
