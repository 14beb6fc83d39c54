"""The page of all conditions, events and reasons."""

from hack.reference.text import bullet, header, paragraph

from holdfast.reasons.reason import Reason
from holdfast.reasons.table import CONDITIONS, GROUPS

_INTRO = """
This page lists every reason that a condition, an event, a `status.reason` or a failure can have. It says what
each reason means and what to do. Search this page for the reason that you see. The message beside the reason
names the object and the cause. The words in italics say where the reason can appear. When a run or request
has ended, `status.reason` is also the reason of its condition `Complete`.
"""
_JOBS = """
The reason of a failed Job shows in these places. A Job makes another attempt as often as `retries` of the
policy says, unless the Task, the configuration or the data is wrong.
"""
_PLACES = {
    "Backup": "`status.targets[].failure` of the run; the first failed target also gives the run's "
    "`status.reason`",
    "Commit": "`status.reason` of the run",
    "Restore": "`status.targets[].failure` of the request, and `status.reason`",
    "Swap": "`status.targets[].failure` of the request, and `status.rollback`",
    "Discard": "`status.targets[].warnings` of the request, and `status.rollback`",
    "Lookup": "`status.reason` of the request",
    "Survey": "condition `DestinationsReachable` of the policy, and `status.catalogue.unreachable`",
    "Verify": "the message of `status.verification` of the run; the reason there is `VerificationFailed`",
    "Purge": "the message of `status.deletion` of the run, and of the event `DeletionFailed`",
}
_ORIGIN = "operator/holdfast/reasons, operator/holdfast/engines/*/reasons.py"
_FAILURE = "failure of a "


def page() -> str:
    """The page."""
    lines = header("Conditions, events and reasons", _ORIGIN)
    lines += paragraph(_INTRO)
    lines += ["## Conditions", ""]
    for condition in CONDITIONS:
        lines += bullet(f"`{condition.name}` of a {condition.kind}")
        for status, meaning in (
            ("True", condition.true),
            ("False", condition.false),
            ("Unknown", condition.unknown),
        ):
            lines += bullet(f"`{status}`: {meaning}", depth=1) if meaning else []
    lines += ["", "## Where the failure of a Job shows", "", *paragraph(_JOBS)]
    for job, places in _PLACES.items():
        lines += bullet(f"{job}: {places}.")
    lines.append("")
    for group in GROUPS:
        lines += [f"## {group.title}", "", *paragraph(group.intro)]
        for reason in group.reasons:
            lines += bullet(_entry(reason))
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _entry(reason: Reason) -> str:
    advice = f" **What to do:** {reason.remedy}" if reason.remedy else ""
    places = _places(reason)
    return f"**`{reason.name}`**: {reason.meaning}{advice} *{places[0].upper()}{places[1:]}.*"


def _places(reason: Reason) -> str:
    """Where it shows, the Jobs together: failure of a Backup or Restore Job."""
    jobs = [where.split()[3] for where in reason.where if where.startswith(_FAILURE)]
    places = [str(where) for where in reason.where if not where.startswith(_FAILURE)]
    if jobs:
        places.append(f"failure of a {_listed(jobs)} Job")
    return "; ".join(places)


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
