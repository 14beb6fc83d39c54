"""The MySQL engine."""
