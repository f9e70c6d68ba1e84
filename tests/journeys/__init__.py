"""Through HTTP, relay, workers and back."""
