"""Unit tests of `serve_apps/work`, one file a subject; read them beside that folder."""
