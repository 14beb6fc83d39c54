"""What making and restoring a stored bucket need of an engine."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tests.harness import Secrets


@dataclass(frozen=True)
class Engine:
    """One engine's servers, and the data whose backup is kept.

    What a server holds is read by its own commands, without Holdfast: once when a release's bucket is made,
    and again after each restore. So `held` must give the same of the same data from release to release.
    """

    name: str
    running: Callable[[], AbstractContextManager[Any]]
    """A new server, which is stopped at the end."""
    target: Callable[[Any], dict[str, Any]]
    """A policy's target that names the server and all that `fill` makes on it."""
    address: Callable[[Any], Mapping[str, Any]]
    """Where a restore goes that is to go to the server."""
    fill: Callable[[Any], None]
    """Makes the data of the first run."""
    change: Callable[[Any], None]
    """Makes the second run's of it."""
    held: Callable[[Any], dict[str, Any]]
    """What the server holds, as JSON."""
    settle: Callable[[Any, Any], None] = lambda held, expected: None
    """Changes what a restored server holds where that may differ from what is expected and is the same."""
    secrets: Secrets = field(default_factory=dict)
