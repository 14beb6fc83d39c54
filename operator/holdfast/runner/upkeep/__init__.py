"""What a commit does for earlier runs: delete, heal, clear away."""
