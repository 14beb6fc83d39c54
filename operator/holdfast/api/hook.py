"""Hooks: commands that are run in the application's pods around a run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import DnsLabel, Duration, Model
from holdfast.api.selector import LabelSelector

MAX_HOOKS = 20
"""How many hooks one list may have."""
When = Literal["Before", "After"]
"""The list of a hook: before the targets are read, or after they have ended."""


class Hook(Model):
    """A command that runs in a pod of the application."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.timeout) || self.timeout.matches('[1-9]')", "timeout must be longer than zero"),
    )

    name: DnsLabel
    """The hook's name. It is unique in its list."""
    pod_selector: LabelSelector
    """The labels of the pod that the command runs in. If several ready pods have them, the command runs in
    the oldest."""
    container: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] | None = None
    """The name of the container. Default: the pod's default container, or else its first."""
    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(min_length=1, max_length=50)
    ]
    """The program and its arguments, without a shell. The command may run more than once: an operator that
    restarts before the hook has ended starts the hook again."""
    timeout: Duration = Duration("30s")
    """How long the command may take, such as `30s`."""
    on_error: Literal["Fail", "Continue"] = "Fail"
    """What happens if the hook fails. Fail: a hook before the targets makes the run fail; a hook after them
    makes a run PartiallySucceeded that would succeed. Continue: the run continues."""


class Hooks(Model):
    """Commands that run in the application's pods before and after a run."""

    before: Annotated[tuple[Hook, ...], Field(max_length=MAX_HOOKS)] = ()
    """Hooks that run, one at a time, before the first target is read."""
    after: Annotated[tuple[Hook, ...], Field(max_length=MAX_HOOKS)] = ()
    """Hooks that run, one at a time, after the last target has ended. They also run if the run failed,
    unless `before` has hooks and none of them was started."""
