"""Writes docs/reference from the models, the table of reasons and the settings."""
