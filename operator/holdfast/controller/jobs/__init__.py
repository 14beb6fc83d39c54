"""The Jobs of runs, restores and policies, built from their Tasks: pure, and the same for the same input."""
