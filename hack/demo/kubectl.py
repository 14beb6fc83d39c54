"""kubectl in one namespace, as the story and its reader would type it."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig and a namespace."""

    namespace: str
    kubeconfig: Path = Path(".cluster/kubeconfig")

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints; raises CalledProcessError, with its complaint, when it fails."""
        done = subprocess.run(
            self._command(*arguments), env=self._environment(), input=stdin, text=True, capture_output=True
        )
        if done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        return done.stdout

    def show(self, *arguments: str) -> None:
        """Run kubectl before the reader's eyes."""
        print(f"$ {' '.join(self._command(*arguments))}", flush=True)
        print(self(*arguments).rstrip(), flush=True)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object as the API server has it."""
        found: dict[str, Any] = json.loads(self("get", kind, name, "--output=json"))
        return found

    @contextlib.contextmanager
    def watch(self, kind: str, name: str) -> Iterator[Iterator[str]]:
        """The lines of `kubectl get --watch` of one object, as they come."""
        command = self._command("get", kind, name, "--watch")
        print(f"$ {' '.join(command)}", flush=True)
        with subprocess.Popen(command, env=self._environment(), text=True, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                yield (line.rstrip() for line in process.stdout)
            finally:
                process.terminate()

    @contextlib.contextmanager
    def forwarded(self, resource: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to `port` of `resource` (`service/chroma`)."""
        command = self._command("port-forward", resource, f":{port}")
        with subprocess.Popen(
            command, env=self._environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                found = re.search(r":(\d+) ->", line)
                if found is None:
                    raise RuntimeError(f"kubectl port-forward {resource} said: {line}")
                yield int(found[1])
            finally:
                process.terminate()

    def _command(self, *arguments: str) -> list[str]:
        return ["kubectl", "--namespace", self.namespace, *arguments]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig.absolute())}
