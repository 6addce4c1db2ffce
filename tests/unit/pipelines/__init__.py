"""Unit tests of `pipelines`, one file a subject; read them beside that folder."""
