"""One file per step of the schema, in order. A step that has been released is never changed."""
