"""Weir's side of each pair: small programs that drive the real parts as the product's own processes do."""
