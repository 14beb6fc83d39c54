"""Which annotations of a Job's pod may steer what is injected into it, such as the proxy of a service mesh.

An injector reads annotations that choose an image, a template or commands. Its container would run beside the
runner and its Secrets. So only a few annotations in an injector's domain are allowed.
"""

import re
from collections.abc import Mapping

INJECTORS = (
    "dapr.io",
    "hashicorp.com",
    "istio.io",
    "k8s.aws",
    "kuma.io",
    "linkerd.io",
    "opentelemetry.io",
    "openservicemesh.io",
)
"""The domains of injectors; an annotation of a subdomain counts too."""
SWITCHES = (
    "config.alpha.linkerd.io/proxy-enable-native-sidecar",
    "consul.hashicorp.com/connect-inject",
    "kuma.io/sidecar-injection",
    "linkerd.io/inject",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/nativeSidecar",
)
"""They turn the proxy on or off."""
SWITCH_VALUES = ("true", "false", "enabled", "disabled")
TRAFFIC = (
    "config.linkerd.io/skip-inbound-ports",
    "config.linkerd.io/skip-outbound-ports",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
)
"""They say which traffic passes the proxy."""
_VALUE = "[0-9a-f.:,/* -]*"
_DOMAIN = rf"(^|[.])({'|'.join(domain.replace('.', '[.]') for domain in INJECTORS)})/"

RULE = (
    f"!has(self.annotations) || self.annotations.all(k, !k.matches('{_DOMAIN}')"
    f" || (k in {list(SWITCHES)} && self.annotations[k] in {list(SWITCH_VALUES)})"
    f" || (k in {list(TRAFFIC)} && self.annotations[k].matches('^{_VALUE}$')))"
)
MESSAGE = (
    "annotations must not steer what is injected into the pod, apart from a switch "
    f"({', '.join(SWITCHES)}: {', '.join(SWITCH_VALUES)}) and its ports and addresses ({', '.join(TRAFFIC)})"
)


def refused_annotations(annotations: Mapping[str, str]) -> list[str]:
    """The annotations that no pod of a Job gets."""
    return sorted(name for name, value in annotations.items() if not _is_allowed(name, value))


def _is_allowed(name: str, value: str) -> bool:
    if not re.search(_DOMAIN, name):
        return True
    is_switch = name in SWITCHES and value in SWITCH_VALUES
    return is_switch or (name in TRAFFIC and re.fullmatch(_VALUE, value) is not None)
