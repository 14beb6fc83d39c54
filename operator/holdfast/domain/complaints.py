"""Why a pod does not start, in the words of the user's resource: the field, and what it names. Pure.

The operator reads no Secrets and no ConfigMaps. It knows of a missing one by what the node says of the pod's
volume.
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from holdfast.mounts import CA, CLIENT_CERT, CREDENTIALS
from holdfast.protocol import TASK, BackupTask, DiscardTask, RestoreTask, SwapTask

_FIELDS = {
    f"source-{CREDENTIALS}": (("credentialsSecret",),),
    f"source-{CA}": (("tls", "caSecret"), ("tls", "caConfigMap")),
    f"source-{CLIENT_CERT}": (("tls", "clientCertSecret"),),
}
"""By volume of a pod: the fields of a target that may name its Secret or ConfigMap."""
_VOLUME = re.compile(r'for volume "([^"]+)"')
_MISSING = re.compile(r'(secret|configmap) "[^"]+" not found')
_CONFIG_MAP = re.compile(r'configmap "|non-existent config key')
_KEY = re.compile(r"references non-existent (?:secret|config) key: (\S+)")
_ACCOUNT = re.compile(r'service account \S+: serviceaccount "([^"]+)" not found')


@dataclass(frozen=True)
class Complaint:
    """Why a pod does not start, as the cluster says."""

    reason: str
    message: str


def explained(complaint: Complaint, task: str) -> Complaint:
    """The complaint about the pod of this Task by the user's names; unchanged if it is of another kind."""
    message = complaint.message
    if account := _ACCOUNT.search(message):
        what = f"this namespace has no ServiceAccount {account[1]}"
        return Complaint("ServiceAccountNotFound", f"runner.serviceAccountName: {what}")
    volume, key = _VOLUME.search(message), _KEY.search(message)
    if volume is None or volume[1] not in _FIELDS or not (key or _MISSING.search(message)):
        return complaint
    is_map = bool(_CONFIG_MAP.search(message))
    fields = (field for field in _FIELDS[volume[1]] if field[-1].endswith("ConfigMap") == is_map)
    named = next(filter(None, (_named(task, field) for field in fields)), None)
    if named is None:
        return complaint
    path, secret = named
    if path.endswith("ConfigMap"):
        if key is None:
            return Complaint("ConfigMapNotFound", f"{path}: this namespace has no ConfigMap {secret['name']}")
        what = f"ConfigMap {secret['name']} has no key {key[1]}"
        return Complaint("ConfigMapKeyNotFound", f"{path}: {what}")
    if key is None:
        return Complaint("SecretNotFound", f"{path}: this namespace has no Secret {secret['name']}")
    what = f"Secret {secret['name']} has no key {key[1]}"
    if path.endswith("credentialsSecret"):
        field = "usernameKey" if key[1] == secret.get("usernameKey", "username") else "passwordKey"
        what += f": add the key, or name another one in {field}"
    return Complaint("SecretKeyNotFound", f"{path}: {what}")


def _named(task: str, field: tuple[str, ...]) -> tuple[str, dict[str, Any]] | None:
    """The path of a field of the Task's target, and the Secret in it: the request's before the policy's."""
    try:
        parsed = TASK.validate_json(task)
    except ValidationError:
        return None  # another release has made the Job
    if not isinstance(parsed, BackupTask | RestoreTask | SwapTask | DiscardTask):
        return None
    sections = [("", parsed.spec)]
    if not isinstance(parsed, BackupTask):
        sections = [("spec.", parsed.override or {}), ("the policy's ", parsed.spec)]
    for owner, section in sections:
        secret: Any = section
        for name in field:
            secret = (secret or {}).get(name)
        if secret:
            return f"{owner}targets[{parsed.target}].{parsed.engine}.{'.'.join(field)}", secret
    return None
