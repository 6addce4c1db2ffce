"""Unit tests of `serve_apps/results`, one file a subject; read them beside that folder."""
