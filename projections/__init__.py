"""The read models, one file each, and the runtime that runs, restarts and rebuilds them."""
