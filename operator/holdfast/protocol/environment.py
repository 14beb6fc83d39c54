"""What a Job's container is started with: its variables, and the folder that everything is mounted below."""

from collections.abc import Iterator, Mapping

from holdfast.protocol.message import Task

TASK_VARIABLE = "HOLDFAST_TASK"
ROOT_VARIABLE = "HOLDFAST_ROOT"
POD_VARIABLE = "HOLDFAST_POD"
"""The pod's name, which makes an attempt's folder unique."""
TERMINATION_VARIABLE = "HOLDFAST_TERMINATION_LOG"
"""The file of the termination message, where that is not the one that Kubernetes gives a container."""
OUTAGE_VARIABLE = "HOLDFAST_OUTAGE_SECONDS"
"""How long a destination that is away is waited for, where that is not ten minutes: tests have no time."""
DEFAULT_ROOT = "/holdfast"
_MAX_BYTES = (128 << 10) - 64
"""Of a value: Linux takes 128 KiB at most for a variable with its name and `=` (execve(2))."""


def task_variables(task: Task) -> dict[str, str]:
    """The variables that give a container its Task. A long Task is continued in HOLDFAST_TASK_2 and so on."""
    # The kubelet replaces $(NAME) and $$ in the value of a variable. In JSON, $ only stands in strings.
    text = task.model_dump_json(by_alias=True, exclude_none=True).replace("$", "\\u0024")
    return {_name(number): piece for number, piece in enumerate(_pieces(text.encode()), start=1)}


def _pieces(data: bytes) -> Iterator[str]:
    """As few as can be: the former release reads the first alone."""
    while data:
        end = _MAX_BYTES
        while end < len(data) and data[end] & 0xC0 == 0x80:  # in the middle of a character
            end -= 1
        yield data[:end].decode()
        data = data[end:]


def task_text(variables: Mapping[str, str]) -> str:
    """The Task of these variables, as JSON; empty if they have none."""
    pieces: list[str] = []
    while (name := _name(len(pieces) + 1)) in variables:
        pieces.append(variables[name])
    return "".join(pieces)


def _name(number: int) -> str:
    return TASK_VARIABLE if number == 1 else f"{TASK_VARIABLE}_{number}"
