"""The rules of the shop: commands, events, refusals, and the pure functions between them. Standard library only."""
