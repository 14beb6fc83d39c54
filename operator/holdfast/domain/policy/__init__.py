"""What a policy's status says, and how many of its runs are kept as objects."""
