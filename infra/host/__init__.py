"""The machine that a process runs on: how one ends that cannot start, secret files, why a line did not come about."""
