"""Unit tests of `serve_apps/api`, one file a subject; read them beside that folder."""
