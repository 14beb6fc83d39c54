"""What the reconcilers work with; each does one thing for runs, restores or policies."""
