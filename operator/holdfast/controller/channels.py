"""What a WebSocket of pods/exec carries: https://kubernetes.io/docs/reference/using-api/websockets-exec/.

Each binary message begins with the number of its channel: 1 is what the command printed, 2 what it printed as
errors, 3 a Status that says how it ended.
"""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

PROTOCOL = "v4.channel.k8s.io"
"""The API server of every supported version speaks it; v5 only adds a way to end standard input."""
MAX_KEPT_BYTES = 1024
"""Of what a command prints, so much of its end is kept."""
_PRINTED = (1, 2)
_STATUS = 3


@dataclass(frozen=True)
class CommandExit:
    """How a command ended."""

    exit_code: int | None
    """None when it did not even start."""
    message: str
    """The cluster's words for a failure."""
    output: str
    """The end of what it printed."""


class ChannelClosedError(Exception):
    """The connection ended before the command did."""


async def follow(socket: aiohttp.ClientWebSocketResponse) -> CommandExit:
    """Read until the command has ended. Raises ChannelClosedError."""
    printed = bytearray()
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel in _PRINTED:
            printed += data
            del printed[:-MAX_KEPT_BYTES]
        elif channel == _STATUS and data:
            return _exit_of(json.loads(data), printed.decode(errors="replace").strip())
    why = f"close code {socket.close_code}" if socket.exception() is None else str(socket.exception())
    raise ChannelClosedError(f"the connection ended before the command did ({why})")


def _exit_of(status: dict[str, Any], output: str) -> CommandExit:
    if status.get("status") == "Success":
        return CommandExit(0, "", output)
    causes = (status.get("details") or {}).get("causes") or []
    code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), None)
    return CommandExit(None if code is None else int(code), status.get("message") or "", output)
