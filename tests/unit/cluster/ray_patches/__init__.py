"""Unit tests of `cluster/ray_patches`, one file a subject; read them beside that folder."""
