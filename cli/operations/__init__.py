"""Commands of those who operate Weir: the schema, signing keys, rebuilds, parked streams, refunds."""
