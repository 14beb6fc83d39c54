"""The newest that is known of each object, whichever of answers, watches and lists said it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from holdfast.api.meta import Resource
from holdfast.controller.errors import ForbiddenError

T = TypeVar("T")


class At(NamedTuple):
    """Which object, and as of when."""

    namespace: str
    name: str
    uid: str
    version: int

    @classmethod
    def of(cls, namespace: str, name: str, uid: str, version: str | None) -> "At":
        """Versions of one cluster are numbers that grow."""
        return cls(namespace, name, uid, int(version or 0))

    @classmethod
    def of_resource(cls, resource: Resource) -> "At":
        """Of an object of Holdfast's kinds."""
        metadata = resource.metadata
        return cls.of(metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)

    @classmethod
    def of_body(cls, body: dict[str, Any]) -> "At":
        """Of an object as the API server gives it."""
        metadata = body["metadata"]
        return cls.of(metadata["namespace"], metadata["name"], metadata["uid"], metadata["resourceVersion"])


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    uid: str
    version: int
    value: T


class Known(Generic[T]):
    """An older word never replaces a newer one, and what is deleted never comes back.

    `changed` hears of each change: what was known before and what is known now, None for nothing.
    """

    def __init__(self, changed: Callable[[At, T | None, T | None], None]) -> None:
        self._changed = changed
        self._entries: dict[tuple[str, str], _Entry[T]] = {}
        self._gone: set[str] = set()
        self._shown: dict[str, tuple[set[tuple[str, str]], frozenset[str]]] = {}

    def find(self, namespace: str, name: str) -> At | None:
        """The object that is known under this name."""
        entry = self._entries.get((namespace, name))
        return None if entry is None else At(namespace, name, entry.uid, entry.version)

    def is_newer(self, at: At) -> bool:
        """Whether this says more than what is known; it also counts for a list that is being read."""
        key = at.namespace, at.name
        for shown, _ in self._shown.values():
            shown.add(key)
        entry = self._entries.get(key)
        return at.uid not in self._gone and (entry is None or entry.version < at.version)

    def put(self, at: At, value: T) -> None:
        """What an object is at a version."""
        if not self.is_newer(at):
            return
        key = at.namespace, at.name
        before = self._entries.get(key)
        self._entries[key] = _Entry(at.uid, at.version, value)
        same = before is not None and before.uid == at.uid
        if before is not None and not same:
            self._changed(At(at.namespace, at.name, before.uid, before.version), before.value, None)
        self._changed(at, before.value if before is not None and same else None, value)

    def remove(self, at: At) -> None:
        """The object is gone for good."""
        self._gone.add(at.uid)
        entry = self._entries.get((at.namespace, at.name))
        if entry is not None and entry.uid == at.uid:
            del self._entries[at.namespace, at.name]
            self._changed(at, entry.value, None)

    def begin(self, namespace: str) -> None:
        """A list of the namespace begins, or of all where that is empty."""
        self._shown[namespace] = set(), frozenset(self._gone)

    def end(self, namespace: str, version: str) -> None:
        """What it did not show is gone, unless it was made after that version."""
        shown, gone = self._shown.pop(namespace)
        absent = [
            At(*key, entry.uid, entry.version)
            for key, entry in self._entries.items()
            if key not in shown and entry.version <= int(version) and namespace in ("", key[0])
        ]
        for at in absent:
            self.remove(at)
        # Nothing tells of them any more: whatever was on its way then has come.
        self._gone -= gone


class KnownList(ABC, Generic[T]):
    """What a feed tells of all objects of a kind; how one is read is for the kind to say."""

    def __init__(self) -> None:
        self._known = Known[T](self._place)
        self._listed: set[str] = set()
        self._refused: dict[str, ForbiddenError] = {}

    @abstractmethod
    def see(self, body: dict[str, Any]) -> None:
        """An object as it is, or was a moment ago."""

    @abstractmethod
    def _place(self, at: At, before: T | None, after: T | None) -> None:
        """Hears of each change, as `Known` tells it."""

    def lose(self, body: dict[str, Any]) -> None:
        """It is deleted."""
        self._known.remove(At.of_body(body))

    def begin(self, namespace: str) -> None:
        """A list of all objects in a namespace begins; in all where that is empty."""
        self._known.begin(namespace)

    def end(self, namespace: str, version: str) -> None:
        """All that were there at that version have been seen."""
        self._known.end(namespace, version)
        self._listed.add(namespace)
        self._refused.pop(namespace, None)

    def refuse(self, namespace: str, error: ForbiddenError) -> None:
        """The API server does not show what is in the namespace."""
        self._refused[namespace] = error

    def _is_listed(self, namespace: str) -> bool:
        """Whether the first list of the namespace has come."""
        return "" in self._listed or namespace in self._listed
