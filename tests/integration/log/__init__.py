"""The append, the aggregates' states, and commands on them."""
