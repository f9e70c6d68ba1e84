"""What operators have: doctor, backups, metrics, traces, the way to more shards."""
