"""Hooks: commands that are run in the application's pods around a run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import DnsLabel, Duration, Model
from holdfast.api.selector import LabelSelector

MAX_HOOKS = 20
"""Hooks of one list."""


class Hook(Model):
    """A command that is run in a pod of the application."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.timeout) || self.timeout.matches('[1-9]')", "timeout must be longer than zero"),
    )

    name: DnsLabel
    """Unique among the hooks of its list."""
    pod_selector: LabelSelector
    """The pod it is run in: of several the one that has been there longest, among those that are ready."""
    container: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)] | None = None
    """The container; none is the pod's default one, or its first."""
    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(min_length=1, max_length=50)
    ]
    """The program and its arguments; no shell is added. It may be run more than once."""
    timeout: Duration = Duration("30s")
    """How long it may take, such as `30s`."""
    on_error: Literal["Fail", "Continue"] = "Fail"
    """Whether the run fails with it."""


class Hooks(Model):
    """Commands around a run."""

    before: Annotated[tuple[Hook, ...], Field(max_length=MAX_HOOKS)] = ()
    """Run one after the other before the first target's snapshot."""
    after: Annotated[tuple[Hook, ...], Field(max_length=MAX_HOOKS)] = ()
    """Run one after the other after the last target's end, also when the run failed."""
