"""Observation: the figures that are of the whole database and of no process, told by one process at a time."""
