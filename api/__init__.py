"""The HTTP edge: commands write, queries read, and neither knows the other."""
