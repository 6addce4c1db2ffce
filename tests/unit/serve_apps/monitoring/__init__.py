"""Unit tests of `serve_apps/monitoring`, one file a subject; read them beside that folder."""
