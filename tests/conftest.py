"""What every folder of tests shares."""

# In the order in which they load each other: pytest rewrites the assertions of a plugin before it is loaded.
pytest_plugins = ["tests.places", "tests.fakegcs", "tests.harness", "tests.scheduling"]
