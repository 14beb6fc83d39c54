"""The whole story on the local cluster: a chatbot's data backed up, lost, restored and compared."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from hack.demo.application import Application
from hack.demo.kubectl import Kubectl

from holdfast.api.text import counted

EXAMPLES = "examples/knowledge-base"
KUBECTL = Kubectl("rag")
_RUN_ENDS = {"Succeeded", "PartiallySucceeded", "Failed", "Cancelled", "Missed", "Skipped"}
_RESTORE_ENDS = {"Succeeded", "Failed", "Refused", "Cancelled"}


class Story:
    """Tells each step as it happens, and at the end how long each took."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step, with its name above what it prints."""
        print(f"\n== {title}", flush=True)
        start = time.monotonic()
        yield
        self.times.append((title, time.monotonic() - start))


def main() -> int:
    """Tell the story; 0 when everything came back identical."""
    story = Story()
    application = Application(KUBECTL)
    with story.step("Deploy the sample application: PostgreSQL with a standby, Chroma, Redis, an S3 server"):
        KUBECTL.show("apply", "--kustomize", EXAMPLES)
        for name in ("s3", "postgres-primary", "postgres-standby", "chroma", "redis"):
            KUBECTL.show("rollout", "status", f"statefulset/{name}", "--timeout=180s")
    with story.step("Fill it: passages of real text with embeddings, chat history, sessions"):
        application.load()
    with story.step("Take a digest of every row, vector and key"):
        before = application.fingerprint()
        for name, (count, digest) in before.stores.items():
            print(f"  {name:24} {count:>8}  {digest}")
    with story.step("Back it up: a policy, and a run of it now"):
        KUBECTL.show("apply", "--filename", f"{EXAMPLES}/policy.yaml")
        run = _await("backuprun", _create(f"{EXAMPLES}/run.yaml"), _RUN_ENDS)
        KUBECTL.show("get", "backuppolicies,backupruns", "--output=wide")
    with story.step("The disaster: database dropped, collections deleted, Redis flushed"):
        application.destroy()
    with story.step("Restore it: one request"):
        restore = _await("restorerequest", _create(f"{EXAMPLES}/restore.yaml"), _RESTORE_ENDS)
        KUBECTL.show("get", "restorerequests")
    with story.step("Compare every row, vector and key with what was there before"):
        differences = before.differences(application.fingerprint())
        print("\n".join(differences) or "  identical")
    _conclude(story, run, restore)
    return 1 if differences else 0


def _create(manifest: str) -> str:
    print(f"$ kubectl create --filename {manifest}", flush=True)
    return str(json.loads(KUBECTL("create", "--filename", manifest, "--output=json"))["metadata"]["name"])


def _await(kind: str, name: str, ends: set[str]) -> dict[str, Any]:
    """Watch an object until its phase is one of `ends`; anything but Succeeded ends the story."""
    with KUBECTL.watch(kind, name) as lines:
        for line in lines:
            print(line, flush=True)
            if KUBECTL.get(kind, name).get("status", {}).get("phase") in ends:
                break
    found = KUBECTL.get(kind, name)
    if found["status"]["phase"] != "Succeeded":
        KUBECTL.show("describe", kind, name)
        sys.exit(f"{kind} {name} is {found['status']['phase']}, not Succeeded; see above")
    return found


def _conclude(story: Story, run: dict[str, Any], restore: dict[str, Any]) -> None:
    print("\n== Times and sizes")
    for title, seconds in story.times:
        print(f"  {seconds:6.1f} s  {title}")
    for target in run["status"]["targets"]:
        stored = sum(artifact["sizeBytes"] for artifact in target["artifacts"])
        contents = ", ".join(counted(count, what) for what, count in target["contents"].items())
        print(f"  {stored / 1e6:6.1f} MB  {target['name']} ({target['source']['role']}): {contents}")
    made, ended = (
        _time(run, key) for key in (("metadata", "creationTimestamp"), ("status", "completionTime"))
    )
    print(f"  {(ended - made).total_seconds():6.0f} s  from the run's creation to Succeeded")
    print(f"  {restore['status']['restoreSeconds']:6.0f} s  restoreSeconds")
    print(
        f"  {restore['status']['dataLossSeconds']:6.0f} s  dataLossSeconds: since the backup's recovery point"
    )
    print(
        "\nIt stays up. Try next:\n"
        "  export KUBECONFIG=$PWD/.cluster/kubeconfig\n"
        "  kubectl -n rag get backuppolicies,backupruns,restorerequests\n"
        f"  kubectl -n rag describe backuprun {run['metadata']['name']}\n"
        f"  kubectl -n rag create -f {EXAMPLES}/run.yaml        # another backup\n"
        f"  kubectl -n rag create -f {EXAMPLES}/restore.yaml    # refused: nothing is lost now\n"
        "  kubectl explain backuppolicy.spec.targets\n"
        "  make cluster-down                                        # when you are done"
    )


def _time(found: dict[str, Any], path: tuple[str, str]) -> datetime:
    return datetime.fromisoformat(found[path[0]][path[1]])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} ended with exit code {error.returncode}: {error.stderr}")
