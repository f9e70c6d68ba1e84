"""What tests share: a shop to order in, servers that fail on purpose, clocks, builders of events."""
