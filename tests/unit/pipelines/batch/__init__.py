"""Unit tests of `pipelines/batch`, one file a subject; read them beside that folder."""
