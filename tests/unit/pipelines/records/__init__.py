"""Unit tests of `pipelines/records`, one file a subject; read them beside that folder."""
