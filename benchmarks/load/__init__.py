"""What loads the servers that are measured: clients, loops, and the work that both sides do."""
