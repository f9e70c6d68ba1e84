"""What Weir promises, as sentences."""
