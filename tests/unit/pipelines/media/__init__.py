"""Unit tests of `pipelines/media`, one file a subject; read them beside that folder."""
