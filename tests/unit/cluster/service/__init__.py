"""Unit tests of `cluster/service`, one file a subject; read them beside that folder."""
