"""Unit tests of `serve_apps/models`, one file a subject; read them beside that folder."""
