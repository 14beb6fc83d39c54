"""The files engine."""
