"""The three kinds as pydantic models: the single source of crds/."""
