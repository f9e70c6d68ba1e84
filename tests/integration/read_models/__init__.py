"""Read models, their rebuilds, and the caches before them."""
