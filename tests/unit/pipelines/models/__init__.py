"""Unit tests of `pipelines/models`, one file a subject; read them beside that folder."""
