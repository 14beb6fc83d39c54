"""Storage classes that have to be thawed before they can be read: what a HEAD tells, and what thaws."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from holdfast.destinations.s3 import ARCHIVES
from holdfast.runner.destinations.destination import ArchiveState

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import RestoreRequestTypeDef

THAWED_DAYS = 7
"""How long a thawed copy lasts: for the restore, and for another attempt."""


def archived(head: Mapping[str, Any]) -> ArchiveState | None:
    """How an object stands in an archive; None when it can be read at once.

    `Restore` says `ongoing-request="true"` while it is thawed, and `"false"` as long as the copy lasts
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html). Intelligent tiering tells of its
    archive tiers by `ArchiveStatus`, and of none once the object has come back.
    """
    tier = head.get("ArchiveStatus")
    storage_class = tier or head.get("StorageClass")
    if tier is None and storage_class not in ARCHIVES:
        return None
    restore = head.get("Restore", "")
    if 'ongoing-request="false"' in restore:
        return None
    return ArchiveState(str(storage_class), thawing='ongoing-request="true"' in restore)


def thaw_request(head: Mapping[str, Any]) -> "RestoreRequestTypeDef":
    """The request that thaws. Intelligent tiering takes no days: the object comes back for good."""
    request: RestoreRequestTypeDef = {"GlacierJobParameters": {"Tier": "Standard"}}
    return request if head.get("ArchiveStatus") else {"Days": THAWED_DAYS, **request}
