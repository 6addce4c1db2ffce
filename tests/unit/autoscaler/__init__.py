"""Unit tests of `autoscaler`, one file a subject; read them beside that folder."""
