"""Labels, annotations and finalizers of what Holdfast makes."""

from holdfast.api.run import BackupRun

POLICY = "holdfast.dev/policy"
RUN = "holdfast.dev/run"
RESTORE = "holdfast.dev/restore"
OF_OWNER = {"backuppolicy": POLICY, "backuprun": RUN, "restorerequest": RESTORE}
"""By the singular of a kind: the label of its Jobs that names the object."""
TARGET = "holdfast.dev/target"
COMPONENT = "holdfast.dev/component"
"""Backup, Commit, Discard, Lookup, Purge, Restore, Survey, Swap or Verify: the kind of the Job's task."""
MANAGED_BY = "app.kubernetes.io/managed-by"

SETTINGS = "holdfast.dev/settings"
"""On a Job: the JobSettings that it was made with."""
VERIFY = "holdfast.dev/verify"
"""On a run, with any new value: asks for a verification of the run now."""
MISSED = "holdfast.dev/missed"
"""On a run that the scheduler made for a slot that was missed: why. Such a run never starts."""
SKIPPED = "holdfast.dev/skipped"
"""On a run that speaks for the slots of a suspension: which these were. Such a run never starts."""
IMPORTED = "holdfast.dev/imported"
"""On an imported run: the UID that it had when it was run. Such a run never starts."""

STARTED = "holdfast.dev/started"
"""On a run or request, before anything is done for it: its UID. In a duplicate it is another one's."""

PAUSED = "holdfast.dev/hooks"
"""The finalizer of a run that may have paused the application: hooks after are run before it is gone."""
DATA = "holdfast.dev/data"
"""The finalizer of policies whose deletionPolicy is Delete, and of their runs that may hold data."""
COPY = "holdfast.dev/copy"
"""The finalizer of a request that restores, or whose copies are neither in place nor dropped."""

_MAX_LABEL = 63


def of_policy(run: BackupRun) -> str | None:
    """The value of the label `POLICY` of a run; None if its policyRef fits into no label."""
    name = run.spec.policy_ref.name
    return name if len(name) <= _MAX_LABEL else None
