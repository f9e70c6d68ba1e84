"""Who may do what: passwords, keys, tokens, and what ends them."""
