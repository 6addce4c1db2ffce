"""Unit tests of `cluster/head`, one file a subject; read them beside that folder."""
