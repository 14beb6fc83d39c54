"""Start the cluster's processes so that they outlive whoever started them, and tell whether they run."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from onenode import cgroups
from onenode.layout import Cluster
from onenode.shell import ENVIRONMENT, UserError

# A process enters its cgroups before it becomes the component: no child of it can be born outside them.
ENTER_CGROUPS = 'for file in $1; do echo $$ >"$file" || exit; done; shift; exec "$@"'


@dataclass(frozen=True)
class Component:
    """A process of the cluster: its command, and how it enters namespaces besides the node's network."""

    name: str
    command: list[str]
    enter: list[str] = field(default_factory=list)


def start(cluster: Cluster, component: Component) -> int:
    """Start a component in the cluster's cgroups and network, with a session and a log of its own."""
    entries = " ".join(str(path) for path in cgroups.make(cluster))
    with (cluster.logs / f"{component.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *("sh", "-c", ENTER_CGROUPS, "sh", entries),
                *("nsenter", f"--net=/run/netns/{cluster.netns}"),
                *component.enter,
                *component.command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cluster.root,
            env=ENVIRONMENT,
            start_new_session=True,
        )
    started = _start_time(process.pid)
    if started is None:
        raise UserError(f"{component.name} ended at once:\n{log_tail(cluster, component.name)}")
    (cluster.pids / component.name).write_text(f"{process.pid} {started}")
    return process.pid


def running(cluster: Cluster, name: str) -> bool:
    """Whether the component that the state folder names is the process that runs under its number."""
    try:
        pid, started = (cluster.pids / name).read_text().split()
    except (FileNotFoundError, ValueError):
        return False
    return _start_time(int(pid)) == started


def pid(cluster: Cluster, name: str) -> int:
    """The process number of a component that has been started."""
    return int((cluster.pids / name).read_text().split()[0])


def log_tail(cluster: Cluster, name: str, lines: int = 15) -> str:
    """The last lines of a component's log."""
    content = (cluster.logs / f"{name}.log").read_text(errors="replace")
    return "\n".join(content.splitlines()[-lines:])


def _start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it does not run (proc(5), stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold any character.
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started
