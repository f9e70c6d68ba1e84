"""Redis: clients, keys, scripts, the job queue, and how much of its memory is ours."""
