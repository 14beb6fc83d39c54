"""One module a kind: read the object, decide, write."""
