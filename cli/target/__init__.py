"""What a command works on: the data directory that is meant, the stack that runs in it, its servers, its database."""
