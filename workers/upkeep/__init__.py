"""Upkeep: deletes what was only to be kept for a while, and makes snapshots anew."""
