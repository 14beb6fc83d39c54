"""The chroma engine."""
