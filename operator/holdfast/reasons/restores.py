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
                "RiskUnknown", _END,
                "`acceptedRisks` names what no check that may be accepted is called.",
                "Use a name that the message lists.",
            ),
            Reason(
                "ObjectsFailed", (*_END, Where.RESTORE),
                "Objects of the backup, such as an index or a foreign key, could not be made again. All else "
                "is restored. The copies of all targets are kept under their staged names.",
                "Read `status.omissions`. Set `promote: Swap` to put the copies in place without the "
                "objects, or `discard: true` to drop them. A new request with `onObjectError: Continue` "
                "accepts such errors from the start.",
            ),
            Reason(
                "TargetStaged", (Where.REQUEST_EVENT,),
                "The copy of a target is complete and waits until every other target of the request is "
                "staged too.", "",
            ),
            Reason(
                "TakingBack", (Where.REQUEST,),
                "A target has failed, or the request was cancelled. What it has loaded is dropped again.", "",
            ),
            Reason(
                "CopyLeft", (Where.REQUEST_EVENT,),
                "What a target has loaded could not be dropped. Parts of it may be on the server.",
                "Read the message. Set `discard: true`, or delete the request: both retry it.",
            ),
            Reason(
                "FormerCopies", (Where.REQUEST_EVENT,),
                "Another request has ended and still holds staged copies, or something that could not be "
                "dropped, of targets that this request restores.",
                "Delete that request: this drops them.",
            ),
            Reason(
                "CopyDiscarded", (*_END, Where.REQUEST_EVENT),
                "What the request had kept or left on the servers is dropped.", "",
            ),
            Reason(
                "Promoted", (*_END, Where.REQUEST_EVENT),
                "`promote: Swap` has put the copies in place. The phase says how the restore ended.", "",
            ),
            Reason(
                "PromoteFailed", (Where.REQUEST_EVENT,),
                "A copy could not be put in place. Another Swap Job tries every five minutes.",
                "Read the message. Free the name that is taken, or set `discard: true` to give up.",
            ),
            Reason(
                "NothingStaged", (Where.REQUEST_EVENT,),
                "`promote` or `discard` is set, but no copy of the request is staged or left on a server.",
                "",
            ),
            Reason(
                "StagedCopyMissing", (Where.RESTORE, Where.SWAP),
                "What the request had staged is not on the server any more.",
                "Create another request.",
            ),
            Reason(
                "RestoreMismatch", (Where.RESTORE,),
                "What a target holds after the restore differs from what the backup counted.",
                "Read `status.verification.details`. What was restored is dropped again. Restore another run "
                "to see whether the backup or the server is wrong.",
            ),
        ),
    ),
)  # fmt: skip
