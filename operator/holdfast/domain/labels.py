"""Labels, annotations and finalizers of what Holdfast makes."""

POLICY = "holdfast.dev/policy"
RUN = "holdfast.dev/run"
RESTORE = "holdfast.dev/restore"
OF_OWNER = {"backuppolicy": POLICY, "backuprun": RUN, "restorerequest": RESTORE}
"""By the singular of a kind: the label of its Jobs that names the object."""
TARGET = "holdfast.dev/target"
COMPONENT = "holdfast.dev/component"
"""Backup, Commit, Lookup, Restore or Purge: the kind of the Job's task."""
MANAGED_BY = "app.kubernetes.io/managed-by"

SETTINGS = "holdfast.dev/settings"
"""On a Job: the JobSettings that it was made with."""
MISSED = "holdfast.dev/missed"
"""On a run that the scheduler made for a slot that was missed: why. Such a run never starts."""

PAUSED = "holdfast.dev/hooks"
"""The finalizer of a run that may have paused the application: hooks after are run before it is gone."""
DATA = "holdfast.dev/data"
"""The finalizer of policies whose deletionPolicy is Delete, and of their runs that may hold data."""
