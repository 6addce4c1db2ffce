"""Unit tests of `serve_apps`, one file a subject; read them beside that folder."""
