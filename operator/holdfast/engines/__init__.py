"""One folder an engine: what a policy says of it, what its pod needs, how it is backed up and restored."""
