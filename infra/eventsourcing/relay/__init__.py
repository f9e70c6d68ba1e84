"""From the log to the streams: the wake-up behind an append, and the pages that are published."""
