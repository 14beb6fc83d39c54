"""The data plane: what runs inside a Job."""
