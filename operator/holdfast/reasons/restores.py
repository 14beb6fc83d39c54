"""What a RestoreRequest's status says, apart from the failures of its Jobs."""

from holdfast.reasons.reason import ConditionType, Group, Reason, Where

CONDITIONS = (
    ConditionType(
        "RestoreRequest", "Complete",
        "Every target is restored, and all counts equal those of the backup.",
        "The request ended in another way: `Failed`, `Refused` or `Cancelled`.",
    ),
    ConditionType(
        "RestoreRequest", "Failed",
        "The request ended as `Failed`, `Refused` or `Cancelled`.",
        "Every target is restored, and all counts equal those of the backup.",
    ),
)  # fmt: skip

_END = (Where.REQUEST,)

GROUPS = (
    Group(
        "A restore is refused",
        "A request that is `Refused` has touched nothing. See also `NotSupportedYet` and `SpecTooLarge` "
        "above.",
        (
            Reason(
                "NoRun", _END,
                "No run can be restored as the request asks. No run holds a backup, every recovery point is "
                "after `notAfter`, or no run holds all the wanted targets.",
                "Read the message; it names the oldest recovery point or the targets. If `spec.targets` is "
                "empty, name there the targets that the message says a run holds. If no run holds all "
                "targets that you named, create one request for each.",
            ),
            Reason(
                "NoRunVerified", _END,
                "The request asks for `LatestVerified`, and no run of the policy is verified.",
                "Verify one: `kubectl annotate backuprun NAME holdfast.dev/verify=$(date +%s) --overwrite`;"
                " or ask for `Latest`.",
            ),
            Reason(
                "RunNotFound", (*_END, Where.LOOKUP, Where.RESTORE),
                "The BackupRun does not exist in the namespace, or the destination has no run at the path.",
                "Name another run; the message lists the newest runs in the destination. `source.location` "
                "restores a run without a BackupRun.",
            ),
            Reason(
                "RunNotRestorable", _END,
                "The run is in a phase in which it holds no backup.",
                "Choose a run that is `Succeeded` or `PartiallySucceeded`.",
            ),
            Reason(
                "NoDestination", _END,
                "No destination holds all wanted targets of the run, or their copies are being deleted.",
                "Restore the targets one by one, or choose another run.",
            ),
            Reason(
                "LocationInvalid", _END,
                "`source.location.path` does not have the form `namespace/policy/run`.",
                "Correct the path; it is relative to the location's prefix.",
            ),
            Reason(
                "PathInvalid", (Where.LOOKUP, Where.RESTORE),
                "The path of the run does not have the form `namespace/policy/run`.",
                "Correct `source.location.path`.",
            ),
            Reason(
                "TargetNotFound", (*_END, Where.RUN, Where.RESTORE),
                "Of a request: the run holds no target of a name in `spec.targets`. Of a run: the policy has "
                "no target of a name in `spec.targets`. The message lists the targets that exist.",
                "Correct the name.",
            ),
            Reason(
                "EngineMismatch", _END,
                "A target in `spec.targets` has the section of another engine than the backup.",
                "Use the section of the engine that the message names.",
            ),
            Reason(
                "IdentityMissing", (*_END, Where.RESTORE),
                "The backup is encrypted, but the restore has no age identity. Either nothing names a "
                "Secret, the Secret does not exist, or it lacks the key `identity`.",
                "Create the Secret, and name it in `encryption.age.identitySecret` of the policy or in "
                "`source.location.identitySecret`.",
            ),
            Reason(
                "IdentityInvalid", (Where.RESTORE,),
                "A line of the Secret's key `identity` is neither an age identity nor a comment.",
                "Put the file that `age-keygen` wrote into the key `identity`.",
            ),
            Reason(
                "IdentityWrong", (Where.RESTORE,),
                "No identity in the Secret belongs to a recipient that the backup is encrypted to.",
                "Find the identity of one of the recipients that the message names.",
            ),
        ),
    ),
    Group(
        "A restore goes on, or ends with a difference",
        "",
        (
            Reason(
                "NewerRunLacksTargets", (Where.REQUEST_EVENT,),
                "A newer run of the policy lacks a target that the request restores, because the run is one "
                "of a part of the targets, or a target failed. The message names it, and the run that is "
                "restored instead.",
                "To restore what the newer run holds, create a request with `source.runRef`.",
            ),
            Reason("LookingUp", (Where.REQUEST,), "A Lookup Job reads the run's entry in the catalogue.", ""),
            Reason(
                "Thawed", (Where.REQUEST_EVENT,),
                "The restore had to wait until the store thawed archived objects.", "",
            ),
            Reason(
                "Mismatch", _END,
                "Counts after the restore differ from those in the manifest.",
                "Read `status.targets[].verification`, and look at the restored data before the application "
                "uses this data.",
            ),
            Reason(
                "PreflightBlocked", (*_END, Where.RESTORE),
                "A target lacks something that the backup needs. Nothing was loaded. `status.preflight` "
                "lists each check with its remedy.",
                "Do what the lines that are `Blocked` say, then create the request again. `acceptedRisks` "
                "lifts those that may be lifted.",
            ),
            Reason(
                "ObjectsFailed", (*_END, Where.RESTORE),
                "Objects of the backup, such as an index or a foreign key, could not be made again. All else "
                "is restored and kept under its staged name.",
                "Read the message: it names the objects and the copy.",
            ),
            Reason(
                "StagedCopyMissing", (Where.RESTORE,),
                "What the request had staged is not on the server any more.",
                "Create the request again.",
            ),
            Reason(
                "RestoreMismatch", (Where.RESTORE,),
                "What a target holds after the restore differs from what the backup counted.",
                "Read `status.verification.details`. The restore drops PostgreSQL's restored databases "
                "again. It leaves Chroma's restored collections under a temporary name, and it leaves "
                "Redis' restored keys. Restore another run to see whether the backup or the server is "
                "wrong.",
            ),
        ),
    ),
)  # fmt: skip
