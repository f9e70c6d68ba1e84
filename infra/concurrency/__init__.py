"""Tasks, batches, pauses and processes: what asyncio leaves to whoever uses it."""
