"""Which runs and requests somebody has created from the object of one that had started. Pure.

Velero and `kubectl apply` of an exported file create an object without its status. The operator writes an
object's UID into an annotation before it does anything for it: in a duplicate this is another object's UID.
"""

from holdfast.api.meta import Resource
from holdfast.domain.labels import IMPORTED, STARTED

STARTED_BEFORE = "StartedBefore"


def started_uid(resource: Resource) -> str | None:
    """The UID of the object that this one is a duplicate of; None if it is no duplicate."""
    uid = resource.metadata.annotations.get(STARTED)
    return None if uid == resource.metadata.uid else uid


def mark_of(resource: Resource) -> dict[str, str]:
    """The annotation that a run or request still lacks. An imported run has its UID in another one."""
    annotations = resource.metadata.annotations
    return {} if STARTED in annotations or IMPORTED in annotations else own_mark(resource)


def own_mark(resource: Resource) -> dict[str, str]:
    """The annotation as it has to be, whatever somebody has written there."""
    return {STARTED: resource.metadata.uid}


def explanation(resource: Resource) -> str:
    """Why a duplicate does not start."""
    kind = resource.kind_name()
    return (
        f"it is a duplicate of the {kind} with the UID {started_uid(resource)}, which may have started: "
        f"somebody created it from a backup or a file of that one. It never starts. If that is what you "
        f"want, create a {kind} without the annotation {STARTED}"
    )
