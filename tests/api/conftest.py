"""The API server that the tests of the contract talk to."""

from tests.apiserver import apiserver

__all__ = ["apiserver"]
