"""Read endpoints: serve documents from the cache or the read models."""
