"""The engines that exist: adding one is its folder and a line here."""

from importlib import import_module

from holdfast.engines.engine import Engine

_NAMES = (
    "postgres",
    "chroma",
    "redis",
    "mysql",
    "memcached",
    "files",
    "objects",
)
"""Folders beside this module, in the order in which the API lists them."""

ENGINES: dict[str, Engine] = {name: import_module(f"holdfast.engines.{name}.pod").ENGINE for name in _NAMES}
