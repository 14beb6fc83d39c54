"""Which destinations are claims that a pod of somebody else mounts: no Job writes on such a volume. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.domain.places import current_destination
from holdfast.mounts import ClaimMount

CLAIM_MOUNTED = "ClaimMounted"


@dataclass(frozen=True)
class ClaimUser:
    """A pod that is not Holdfast's and has not ended, and the claims that it mounts."""

    pod: str
    claims: frozenset[str]


def mounts_claim(destinations: Iterable[Destination]) -> bool:
    """Whether one of them is a claim."""
    return any(
        isinstance(mount, ClaimMount) for destination in destinations for mount in destination.spec.mounts()
    )


def guarded_claims(destinations: Iterable[Destination], policy: BackupPolicy | None) -> dict[str, str]:
    """By destination that no other pod may mount: its claim. The policy's present `allowMounted` counts."""
    return {
        destination.name: mount.claim
        for destination in destinations
        for mount in current_destination(destination, policy).spec.mounts()
        if isinstance(mount, ClaimMount) and not mount.may_be_mounted
    }


def mounted_claims(claims: dict[str, str], users: Iterable[ClaimUser]) -> dict[str, str]:
    """By destination whose claim one of `users` mounts: what is wrong, and what helps."""
    users = sorted(users, key=lambda user: user.pod)
    problems = {}
    for destination, claim in claims.items():
        pods = [user.pod for user in users if claim in user.claims]
        if pods:
            more = f" and {len(pods) - 1} more" if len(pods) > 1 else ""
            problems[destination] = (
                f"destinations[{destination}].volume.claimName: pod {pods[0]}{more} mounts claim {claim}. "
                "Name another one for backups, or set volume.allowMounted: true if both may write there"
            )
    return problems
