"""Reads manifests and catalogue entries from a destination, and checks that they are what was stored."""

import hashlib

from holdfast.layout import RunPath
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.stored.manifest import CatalogueEntry, Manifest


def read_document(destination: Destination, key: str) -> bytes:
    """The bytes of a document. Raises MismatchError when it is not there."""
    data = destination.read(key)
    if data is None:
        raise destination.mismatch(key, "it is not there")
    return data


def parse_manifest(destination: Destination, key: str, data: bytes, *sha256s: str) -> Manifest:
    """The manifest that was read from `key`. Raises MismatchError unless it has all of these SHA-256."""
    actual = hashlib.sha256(data).hexdigest()
    for expected in sha256s:
        if actual != expected:
            raise destination.mismatch(key, f"its SHA-256 is {actual}, not {expected}")
    return Manifest.parse(data, _name(destination, key))


def read_manifest(destination: Destination, key: str, *sha256s: str) -> tuple[Manifest, bytes]:
    """A target's manifest and its bytes. Raises MismatchError when they are not those of `sha256s`."""
    data = read_document(destination, key)
    return parse_manifest(destination, key, data, *sha256s), data


def parse_entry(destination: Destination, key: str, data: bytes) -> CatalogueEntry:
    """The entry that was read from `key`. Raises MismatchError when it is damaged."""
    return CatalogueEntry.parse(data, _name(destination, key))


def read_entry(destination: Destination, path: RunPath) -> CatalogueEntry | None:
    """The run's entry; None when the catalogue does not have it. Raises MismatchError when it is damaged."""
    data = destination.read(path.entry)
    return None if data is None else parse_entry(destination, path.entry, data)


def _name(destination: Destination, key: str) -> str:
    return f"destination {destination.name}: {destination.uri(key)}"
