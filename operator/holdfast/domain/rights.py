"""Which right a refusal of the API server says is missing, and how it is granted. Pure."""

import re
from dataclasses import dataclass

_REFUSAL = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group '
    r'"(?P<group>[^"]*)" (?:in the namespace "(?P<namespace>[^"]+)"|at the cluster scope)'
)
"""As the API server's authorization puts it; what an admission plugin refuses reads otherwise."""


@dataclass(frozen=True)
class _Right:
    """What somebody may not do."""

    user: str
    verb: str
    resource: str
    """The plural, with its subresource after a slash."""
    group: str
    namespace: str | None
    """None: in the whole cluster."""


def in_words(refusal: str) -> str:
    """The refusal for people: who lacks which right, and what to do. Of a quota and the like as it is."""
    return _REFUSAL.sub(lambda match: _explained(_Right(**match.groupdict())), refusal)


def _explained(right: _Right) -> str:
    plural, _, subresource = right.resource.partition("/")
    kind = f"{plural}.{right.group}" if right.group else plural
    what = f"{kind}/{subresource}" if subresource else kind
    where = f"in namespace {right.namespace}" if right.namespace else "in the whole cluster"
    scope = f" (with {right.namespace} in watchNamespaces, if you set it)" if right.namespace else ""
    options = f" --subresource={subresource}" if subresource else ""
    options += f" -n {right.namespace}" if right.namespace else " -A"
    return (
        f"{right.user} may not {right.verb} {what} {where}. Grant it by `helm upgrade` of the chart with "
        f"rbac.create=true{scope}. Check it by `kubectl auth can-i {right.verb} {kind}{options} "
        f"--as={right.user}`"
    )
