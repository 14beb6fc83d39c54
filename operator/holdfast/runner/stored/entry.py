"""Makes a run's entry in the catalogue from the manifests of its targets."""

import holdfast
from holdfast.protocol import CommitTask
from holdfast.runner.stored.manifest import CatalogueEntry, CatalogueTarget, Manifest

MAX_OMISSIONS = 20
"""How many of a target its run's entry names."""


def entry_of(task: CommitTask, manifests: list[Manifest]) -> CatalogueEntry:
    """The entry of the run that `task` commits; `manifests` are those of its targets, in their order."""
    sha256 = {target.name: target.manifest_sha256 for target in task.targets}
    started = [manifest.started_time for manifest in manifests]
    snapshots = [manifest.snapshot_time for manifest in manifests]
    return CatalogueEntry(
        tool_version=holdfast.__version__,
        namespace=task.namespace,
        policy=task.policy,
        run=task.run,
        run_uid=task.run_uid,
        trigger=task.trigger,
        scheduled_time=task.scheduled_time,
        started_time=min(filter(None, [task.started_time, *started])),
        completed_time=max(manifest.completed_time for manifest in manifests),
        recovery_point=min(snapshots),
        skew_seconds=int((max(snapshots) - min(snapshots)).total_seconds()),
        size_bytes=sum(manifest.size_bytes for manifest in manifests),
        targets=tuple(_entry_target(manifest, sha256[manifest.target]) for manifest in manifests),
        failed_targets=task.failed_targets,
        skipped_targets=task.skipped_targets,
    )


def _entry_target(manifest: Manifest, manifest_sha256: str) -> CatalogueTarget:
    return CatalogueTarget(
        name=manifest.target,
        engine=manifest.engine,
        spec=manifest.spec,
        snapshot_time=manifest.snapshot_time,
        source=manifest.source,
        contents=manifest.contents,
        size_bytes=manifest.size_bytes,
        encrypted=manifest.encrypted,
        retain_until=manifest.retain_until,
        manifest_sha256=manifest_sha256,
        omissions=manifest.omissions[:MAX_OMISSIONS],
        omissions_omitted=len(manifest.omissions[MAX_OMISSIONS:]),
        artifacts=tuple(stored.listed() for stored in manifest.objects),
    )
