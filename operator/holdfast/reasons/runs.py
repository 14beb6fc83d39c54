"""What a BackupRun's status and events say, apart from the failures of its Jobs."""

from holdfast.reasons.reason import ConditionType, Group, Reason, Where

CONDITIONS = (
    ConditionType(
        "BackupRun", "Complete",
        "The run ended and holds a backup: `Succeeded` or `PartiallySucceeded`.",
        "The run ended without a backup, or holds none any more: `Expired`.",
    ),
    ConditionType(
        "BackupRun", "Failed",
        "The run ended without a backup: `Failed`, `Missed`, `Skipped` or `Cancelled`.",
        "The run holds a backup, or has held one: `Expired`.",
    ),
    ConditionType(
        "BackupRun", "Verified",
        "The last verification that could be carried out read every byte of every copy, and every byte is "
        "what was stored.",
        "The last verification that could be carried out found a copy that is not what was stored.",
        "No verification of the run could be carried out yet.",
    ),
)  # fmt: skip

_END = (Where.RUN,)
_WAITS = (Where.RUN, Where.RUN_EVENT)

GROUPS = (
    Group(
        "Phases as reasons",
        "When a run or request ends, the operator reports an event, and the event's reason is the phase. "
        "The reason of `BackupFresh` is the phase of the newest run that ended; skipped and cancelled runs "
        "do not count. The reason of `Complete` and `Failed` is `status.reason`, or the phase if it is "
        "empty.",
        (
            Reason(
                "Succeeded", (Where.RUN_EVENT, Where.REQUEST_EVENT, Where.COMPLETE, Where.FRESH),
                "Of a run: every target is stored in every destination. Of a request: every target is "
                "restored, and all counts equal those of the backup.",
                "",
            ),
            Reason(
                "PartiallySucceeded", (Where.RUN_EVENT, Where.COMPLETE, Where.FRESH),
                "The run holds a backup, but a target failed, a copy is missing, or a hook after the backup"
                " failed.",
                "Look up `status.reason` of the run here.",
            ),
            Reason(
                "Failed", (Where.RUN_EVENT, Where.REQUEST_EVENT, Where.COMPLETE, Where.FRESH),
                "The run or the request failed.",
                "Look up `status.reason` here, and read `status.message` and `status.targets[].failure`.",
            ),
            Reason(
                "Skipped", (Where.RUN_EVENT,),
                "The policy does not allow the run to start: it is suspended, or another run goes on.",
                "Look up `status.reason` of the run here.",
            ),
            Reason(
                "Refused", (Where.REQUEST_EVENT,),
                "The restore cannot be made as the request asks. It touched nothing.",
                "Look up `status.reason` here, correct the spec and create a new request.",
            ),
            Reason(
                "Cancelled", (*_END, Where.REQUEST, Where.RUN_EVENT, Where.REQUEST_EVENT),
                "Somebody set `spec.cancel`, or deleted a run that was going on. Its pods have ended.",
                "For another attempt, create a new run or request.",
            ),
            Reason(
                "TooLateToCancel", (Where.RUN_EVENT, Where.REQUEST_EVENT),
                "Somebody set `spec.cancel` of a run or request that had ended, or whose data was committed. "
                "Nothing is cancelled.",
                "To get rid of a run's data, delete the run: see `deletionPolicy`.",
            ),
            Reason(
                "Expired", (Where.FRESH,),
                "The newest run no longer holds a backup: retention deleted its copies, or somebody deleted "
                "its data.",
                "Create a run, and look up `status.reason` of the expired one.",
            ),
        ),
    ),
    Group(
        "A run waits",
        "",
        (
            Reason(
                "WaitingForRun", _WAITS,
                "Another run of the policy has not ended yet, or waits in front of this one.", "",
            ),
            Reason(
                "WaitingForCapacity", (*_WAITS, Where.REQUEST, Where.VERIFICATION, Where.REACHABLE),
                "The Jobs of this kind have reached their limit in the cluster. Or, for other Jobs than "
                "backups and commits, half of it in the namespace. The message names the limit and the "
                "position in the line. Backups, restores, "
                "verifications and surveys do not wait for each other.",
                "Wait, or, for a backup, raise `operator.maxRunningJobs` of the chart. The limits of the "
                "other kinds are fixed.",
            ),
            Reason("RunningHook", (Where.RUN,), "A hook of the run goes on.", ""),
            Reason(
                "Retrying",
                (Where.RUN, Where.REQUEST, Where.VERIFICATION, Where.RUN_EVENT, Where.REQUEST_EVENT),
                "An attempt failed and the Job makes another one, after a pause of 10 s, 20 s, 40 s and so "
                "on up to 10 minutes. The message holds the reason of the failure.",
                "Look that reason up here while the Job goes on.",
            ),
            Reason(
                "Cancelling", (Where.RUN, Where.REQUEST),
                "The run or request waits for its pods to end.", "",
            ),
        ),
    ),
    Group(
        "A run does not start",
        "See also `Suspended`, `Missed`, `QuotaExceeded` and `NotSupportedYet` above.",
        (
            Reason(
                "PolicyNotFound", (*_END, Where.REQUEST),
                "The namespace has no policy of the name in `spec.policyRef` of a run or "
                "`spec.source.policyRef` of a request. Of a run: or the policy is being deleted.",
                "Create the policy, or a run or request that names another one.",
            ),
            Reason(
                "StartedBefore", (Where.RUN, Where.RUN_EVENT, Where.REQUEST),
                "Somebody created the BackupRun or RestoreRequest from the object of one that may have "
                "started, with Velero or `kubectl apply` of an exported file. Such a duplicate never starts. "
                "A run is `Expired` until a survey finds its data in a catalogue; a request is `Refused`.",
                "For another backup or restore, create a run or request without the annotation "
                "`holdfast.dev/started`.",
            ),
            Reason(
                "StartingDeadlineExceeded", _END,
                "The run waited longer than `startingDeadline`, and either a later slot is due or `catchUp` "
                "is `None`; or the BackupRun was created long after that. The run is `Missed`.",
                "Raise `startingDeadline`, or make room: fewer runs at once, or a higher "
                "`operator.maxRunningJobs`.",
            ),
            Reason(
                "ConcurrentRun", _END,
                "The slot came while another run of the policy went on or waited, and `concurrencyPolicy` "
                "is `Forbid`. The run is `Skipped`.",
                "Schedule fewer runs, or set `concurrencyPolicy: Queue`.",
            ),
            Reason(
                "QueueFull", _END,
                "Three runs of the policy wait already, and `concurrencyPolicy: Queue` allows no more. The "
                "run is `Skipped`.",
                "Schedule runs less often: a run must be able to end before the next slot.",
            ),
        ),
    ),
    Group(
        "A run goes on",
        "",
        (
            Reason(
                "Started", (Where.RUN_EVENT, Where.REQUEST_EVENT),
                "The run or request started. A run's hooks before the backup come next, and then the "
                "Jobs.", "",
            ),
            Reason(
                "TargetSucceeded", (Where.RUN_EVENT, Where.REQUEST_EVENT),
                "A target is backed up or restored.", "",
            ),
            Reason(
                "TargetFailed", (Where.RUN_EVENT, Where.REQUEST_EVENT, Where.TARGET, *_END),
                "A target failed, and Holdfast does not retry it. The event's message names the reason. In "
                "an imported run, `status.targets[].failure` has this reason itself: the cause is not known"
                " any more.",
                "Look up the reason of `status.targets[].failure` here. For an imported run you can do "
                "nothing.",
            ),
            Reason(
                "DataOmitted", (Where.RUN, Where.RUN_EVENT, Where.TARGET),
                "Something of the source is not in the backup, although the policy asks for it. "
                "`status.omissions` lists it. With `onOmission: Warn` a run that is otherwise whole is "
                "`Succeeded` with this reason; with `onOmission: Fail` the target failed, and its backup is "
                "not kept.",
                "Look up the reason of the entry in `status.omissions` here. Mend the cause, or leave the "
                "thing out in the policy.",
            ),
            Reason(
                "TargetRemoved", (Where.TARGET, *_END),
                "The target was removed from the policy, or the policy was deleted, after the run started.",
                "Nothing; or put the target back and create a run.",
            ),
            Reason(
                "Committed", (Where.RUN_EVENT,),
                "In every destination that holds the run, the commit compared size and checksum of each "
                "artifact with its manifest. The catalogue lists the run.", "",
            ),
            Reason(
                "CopyMissing", _END,
                "An optional destination does not hold the whole run, so the run is `PartiallySucceeded`. "
                "The message says why. If the commit does not find the run in a required destination, the "
                "run is `Failed`, also with this reason.",
                "Repair the destination. The commit of a later run heals the copy.",
            ),
        ),
    ),
    Group(
        "Hooks",
        "",
        (
            Reason("HookSucceeded", (Where.RUN_EVENT,), "The command of a hook ended with exit code 0.", ""),
            Reason(
                "HookFailed", (*_END, Where.RUN_EVENT),
                "The command of a hook failed, took longer than its `timeout`, or could not be run. With "
                "`onError: Continue` the run goes on.",
                "Read the hook's message in `status.hooks`. When the operator may not run commands in pods, "
                "set `operator.hooks` of the chart.",
            ),
            Reason(
                "HookPodNotFound", (Where.RUN_EVENT,),
                "No pod that the hook's `podSelector` finds is running and ready.",
                "Correct `podSelector`, or start the application.",
            ),
        ),
    ),
    Group(
        "Retention, healing and leftovers",
        "A commit does this work after it has committed its own run. If this work fails, that run does not "
        "fail. An event belongs to that run, unless its text begins with \"Of the older run\" or \"Of the "
        "expired run\": then the event belongs to the run that the work changed.",
        (
            Reason(
                "RetentionDeleted", (Where.RUN_EVENT,),
                "The commit deleted copies that retention does not keep.", "",
            ),
            Reason(
                "RetentionWaits", (Where.RUN_EVENT,),
                "Object lock or a legal hold protects a copy that retention does not keep. The copy stays "
                "whole.",
                "Object lock: nothing; every later commit makes another attempt. Legal hold: remove the "
                "hold at the store, if the copy may be deleted. An object lock ends by itself, a legal hold"
                " does not.",
            ),
            Reason(
                "RetentionRefused", (Where.RUN_EVENT,),
                "The commit refused to delete a copy of a run. A commit never deletes the newest run of a "
                "destination, nor its newest whole run, nor its newest verified run. It also refuses if the"
                " run's entry there is damaged or belongs to another run.",
                "Read the message. When the entry is damaged, find out what changed it.",
            ),
            Reason(
                "RetentionFailed", (Where.RUN_EVENT,),
                "A destination broke while the commit deleted copies there.",
                "Look at the message. The credentials need the permissions of `docs/retention.md`. A later "
                "commit deletes what is left.",
            ),
            Reason(
                "RetentionUnfinished", (Where.RUN_EVENT,),
                "The commit had no time left for all copies that retention does not keep.",
                "Nothing: a later commit deletes them. When it repeats, raise `activeDeadline`.",
            ),
            Reason(
                "RetentionExpired", (Where.RUN, Where.RUN_EVENT),
                "Of the expired run: retention deleted its last copy. The run is `Expired`.", "",
            ),
            Reason(
                "CopyDeleted", (Where.RUN_EVENT,),
                "Of the older run: retention deleted one of its copies.", "",
            ),
            Reason("CopyHealed", (Where.RUN_EVENT,), "Of the older run: a commit made its missing copy.", ""),
            Reason(
                "CopyDamaged", (Where.RUN_EVENT,),
                "The commit could not make a missing copy. It had to read the copy of another destination, "
                "and that copy is not what was stored.",
                "Find out what changed the object. If you need the run that the message names, restore it "
                "from a destination whose copy is sound. Create a new run: Holdfast writes it to all "
                "destinations.",
            ),
            Reason(
                "HealingRefused", (Where.RUN_EVENT,),
                "Something else is at the place of the missing copy: another run, or a damaged entry.",
                "Look at the object that the message names, and move it away when nobody needs it.",
            ),
            Reason(
                "HealingFailed", (Where.RUN_EVENT,),
                "A destination broke while the commit healed a copy.",
                "Look at the message, and repair the destination. A later commit retries it.",
            ),
            Reason(
                "HealingUnfinished", (Where.RUN_EVENT,),
                "The commit had no time left to heal all copies.",
                "Nothing: a later commit heals them. When it repeats, raise `activeDeadline`.",
            ),
            Reason(
                "ReportNotWritten", (Where.RUN_EVENT,),
                "The report beside a run could not be written. The run itself is stored.",
                "Look at the message, and repair the destination. The next run writes a report again.",
            ),
            Reason(
                "NotesOmitted", (Where.RUN_EVENT, Where.REQUEST_EVENT),
                "A Job had more to report than its Result holds.",
                "Read the place that the message names: the run's report (`status.report`), the target's "
                "manifest or the log of the pod.",
            ),
            Reason(
                "CleanupFailed", (Where.RUN_EVENT,),
                "The commit could not clear leftovers of failed attempts or failed runs.",
                "Look at the message. The credentials need to list and abort uploads (`docs/copies.md`), "
                "and to delete.",
            ),
            Reason(
                "LeftoversLocked", (Where.RUN_EVENT,),
                "Object lock protects leftovers of failed attempts. They are deleted together with their "
                "run.",
                "",
            ),
        ),
    ),
    Group(
        "Verification",
        "",
        (
            Reason(
                "NotVerifiedYet", (Where.RECOVERY,),
                "No verification of a run of the policy has ended yet.", "",
            ),
            Reason("Verified", (Where.RUN_EVENT,), "The verification found every byte as it was stored.", ""),
            Reason(
                "ChecksumsMatch", (Where.VERIFICATION, Where.VERIFIED, Where.RECOVERY),
                "The verification found every byte of every copy as it was stored.", "",
            ),
            Reason(
                "VerificationFailed", (Where.VERIFICATION, Where.VERIFIED, Where.RECOVERY, Where.RUN_EVENT),
                "As an event: a copy is damaged, or the verification could not be carried out. Elsewhere: "
                "it could not be carried out, which says nothing about the bytes.",
                "Read the message, and repair what it names. `kubectl annotate backuprun NAME "
                "holdfast.dev/verify=$(date +%s) --overwrite` verifies the run again.",
            ),
            Reason(
                "NothingStored", (Where.VERIFY,),
                "No destination holds all of the run, so the run cannot be verified: it failed, or its "
                "copies were deleted.",
                "Verify another run.",
            ),
        ),
    ),
    Group(
        "A run is deleted with its data (`deletionPolicy: Delete`)",
        "The events outlive the run: the API server keeps events for an hour by default.",
        (
            Reason(
                "DataDeleted", (Where.RUN_EVENT,),
                "Nothing of the run is left in the destination that the message names.", "",
            ),
            Reason(
                "RecordedSecrets", (Where.RUN_EVENT, Where.REQUEST_EVENT),
                "The policy has no destination at the place where the run is stored. So the Job uses the "
                "Secrets that the run recorded, and not newer ones.",
                "If these Secrets are gone or out of date, add a destination at that place to the policy, or "
                "restore by `source.location`.",
            ),
            Reason(
                "DataKept", (Where.RUN_EVENT,),
                "The data under the run's name belongs to another run, or Holdfast cannot read to which run "
                "the data belongs. Holdfast does not delete it.",
                "Delete the data by hand when nobody needs it.",
            ),
            Reason(
                "DataLocked", (Where.RUN_EVENT,),
                "Object lock or a legal hold protects an object of the run. The data stays in that "
                "destination.",
                "Holdfast does not retry the deletion. Wait until the object lock has ended, or remove the "
                "legal hold at the store. The deleted BackupRun is gone, but its data stays, so a survey "
                "may import the run as a new BackupRun: delete that one then. If no survey can import the "
                "run, delete the data by hand. A survey cannot import a run that was never committed, a run"
                " whose event says that some of it is gone, or a run whose policy is deleted.",
            ),
            Reason(
                "DeletionFailed", (Where.RUN, Where.RUN_EVENT),
                "A destination did not let the data be deleted, or the Purge Job could not run. The run "
                "stays, and the operator retries after a pause of 10 seconds to one hour.",
                "Repair what the message names. To give up, set `deletionPolicy: Retain`.",
            ),
        ),
    ),
)  # fmt: skip
