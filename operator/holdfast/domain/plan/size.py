"""How large a spec may be: a run's status has copies of parts of it, and etcd takes 1.5 MB at most. Pure."""

import json
from typing import Any

from holdfast.api.base import Model
from holdfast.api.text import json_bytes

MAX_SPEC_BYTES = 192 * 1024
"""A copy of all of it is a third longer, as JSON in JSON, and has to fit beside all else that a run says."""


def too_large(spec: Model) -> str | None:
    """Why a spec is too large, with its longest part; None when it is not."""
    size = json_bytes(spec.model_dump_json(by_alias=True, exclude_none=True))
    if size <= MAX_SPEC_BYTES:
        return None
    sizes = {path: _size(part) for path, part in _parts(spec.to_json()).items()}
    longest = max(sizes, key=sizes.__getitem__)
    return (
        f"spec has {size} bytes as JSON and may have {MAX_SPEC_BYTES}; {longest} has {sizes[longest]}: "
        "name fewer things in it, or divide them between several objects"
    )


def _parts(spec: dict[str, Any]) -> dict[str, Any]:
    """The fields, and of a list of named things each of these."""
    parts: dict[str, Any] = {}
    for field, value in spec.items():
        if isinstance(value, list):
            parts |= {f"{field}[{thing['name']}]": thing for thing in value}
        else:
            parts[field] = value
    return parts


def _size(part: Any) -> int:
    return json_bytes(json.dumps(part, ensure_ascii=False, separators=(",", ":")))
