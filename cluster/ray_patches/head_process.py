"""Imported first by each of Ray's Python workers on the head, Serve's controller, proxy and replicas among them."""

from cluster.ray_patches.decision import apply_at
from cluster.ray_patches.patch import Place

apply_at(Place.HEAD_PYTHON)
