"""The objects engine."""
