"""Look whether a pod of somebody else mounts a destination's claim, before a Job writes there."""

from collections.abc import Iterable

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import Failure
from holdfast.controller.cluster import Cluster
from holdfast.domain.claims import CLAIM_MOUNTED, guarded_claims, mounted_claims


async def mounted(
    cluster: Cluster, namespace: str, destinations: Iterable[Destination], policy: BackupPolicy | None = None
) -> dict[str, str]:
    """By destination that Jobs may not write to: why. It lists pods only if a destination is a claim."""
    claims = guarded_claims(destinations, policy)
    return mounted_claims(claims, await cluster.claim_users(namespace)) if claims else {}


async def why_refused(
    cluster: Cluster, namespace: str, destinations: Iterable[Destination], policy: BackupPolicy | None = None
) -> Failure | None:
    """Why a Job may not write to these destinations."""
    problems = await mounted(cluster, namespace, destinations, policy)
    return Failure(reason=CLAIM_MOUNTED, message="; ".join(problems.values())) if problems else None
