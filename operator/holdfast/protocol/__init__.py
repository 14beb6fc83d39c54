"""What the operator hands a Job (a Task) and gets back from it (a Result, and Progress while it runs).

The Task is JSON in the environment variable HOLDFAST_TASK, and of a long one in HOLDFAST_TASK_2 and so on; it
never holds a secret. Secrets and volumes are mounted below `HOLDFAST_ROOT` (default /holdfast):

    source/<folder>/<file>            the Secrets that the engine asks for (`PodNeeds.secrets`)
    destinations/<name>/credentials/  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
    destinations/<name>/ca/ca.crt
    destinations/<name>/volume/       the volume of a `volume` destination
    identity/identity                 age identities, one a line; in the pod of a restore alone
    scratch/                          an empty folder that vanishes with the pod

The Result is JSON in the termination message, at most 4096 bytes
(https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/); Progress is a JSON
line on standard output. Both sides carry `version`, so that an operator refuses what it does not understand.

The modules have one kind of Job each. This package is their one public surface.
"""

from holdfast.protocol.backup import BackupResult, BackupTask
from holdfast.protocol.commit import (
    CommitResult,
    CommitTask,
    DeletionOutcome,
    Expiry,
    ExpiryCandidate,
    Gap,
    HealingOutcome,
    Leftovers,
    WrittenReport,
)
from holdfast.protocol.environment import (
    DEFAULT_ROOT,
    OUTAGE_VARIABLE,
    POD_VARIABLE,
    ROOT_VARIABLE,
    TASK_VARIABLE,
    TERMINATION_VARIABLE,
    task_text,
    task_variables,
)
from holdfast.protocol.exit import ExitCode
from holdfast.protocol.kinds import (
    BACKUP,
    COMMIT,
    DISCARD,
    KINDS,
    LOOKUP,
    PURGE,
    RESTORE,
    RESULT,
    SURVEY,
    SWAP,
    TASK,
    VERIFY,
    Channel,
    Kind,
)
from holdfast.protocol.lookup import LOOKUP_LINE_START, LookupResult, LookupTask
from holdfast.protocol.message import MAX_RESULT_BYTES, Check, FailedResult, Note, Omission, Result, Task
from holdfast.protocol.progress import WAITS, ProgressLine
from holdfast.protocol.purge import PurgeResult, PurgeTask
from holdfast.protocol.restore import (
    DiscardResult,
    DiscardTask,
    RestoreResult,
    RestoreTask,
    SwapResult,
    SwapTask,
)
from holdfast.protocol.stored import CommittedTarget, ListedTarget, StoredArtifact, StoredRun
from holdfast.protocol.survey import (
    SURVEY_LINE,
    SURVEY_LINE_START,
    SurveyedDamage,
    SurveyedRun,
    SurveyedTarget,
    SurveyResult,
    SurveyTask,
)
from holdfast.protocol.verify import VerifiedCopy, VerifyResult, VerifyTask

__all__ = [
    "BACKUP",
    "COMMIT",
    "DEFAULT_ROOT",
    "DISCARD",
    "KINDS",
    "LOOKUP",
    "LOOKUP_LINE_START",
    "MAX_RESULT_BYTES",
    "OUTAGE_VARIABLE",
    "POD_VARIABLE",
    "PURGE",
    "RESTORE",
    "RESULT",
    "ROOT_VARIABLE",
    "SURVEY",
    "SURVEY_LINE",
    "SURVEY_LINE_START",
    "SWAP",
    "TASK",
    "TASK_VARIABLE",
    "TERMINATION_VARIABLE",
    "VERIFY",
    "WAITS",
    "BackupResult",
    "BackupTask",
    "Channel",
    "Check",
    "CommitResult",
    "CommitTask",
    "CommittedTarget",
    "DeletionOutcome",
    "DiscardResult",
    "DiscardTask",
    "ExitCode",
    "Expiry",
    "ExpiryCandidate",
    "FailedResult",
    "Gap",
    "HealingOutcome",
    "Kind",
    "Leftovers",
    "ListedTarget",
    "LookupResult",
    "LookupTask",
    "Note",
    "Omission",
    "ProgressLine",
    "PurgeResult",
    "PurgeTask",
    "RestoreResult",
    "RestoreTask",
    "Result",
    "StoredArtifact",
    "StoredRun",
    "SurveyResult",
    "SurveyTask",
    "SurveyedDamage",
    "SurveyedRun",
    "SurveyedTarget",
    "SwapResult",
    "SwapTask",
    "Task",
    "VerifiedCopy",
    "VerifyResult",
    "VerifyTask",
    "WrittenReport",
    "task_text",
    "task_variables",
]
