"""What a BackupPolicy's conditions and events say."""

from holdfast.reasons.reason import ConditionType, Group, Reason, Where

CONDITIONS = (
    ConditionType(
        "BackupPolicy", "Ready",
        "Runs of the policy can start.",
        "The schedule of the policy starts no run until you correct what the reason names.",
    ),
    ConditionType(
        "BackupPolicy", "OnSchedule",
        "Never: the condition is there only while something is wrong.",
        "Something was in the way of a slot; the message says what became of it. The condition goes with the "
        "next slot that has nothing in its way.",
    ),
    ConditionType(
        "BackupPolicy", "Permitted",
        "Never: the condition is there only while something is forbidden.",
        "The API server forbids the operator something that the policy needs; the message names the right "
        "that is missing, and how to grant it.",
    ),
    ConditionType(
        "BackupPolicy", "BackupFresh",
        "The newest run that ended holds a backup. Skipped and cancelled runs, and runs of a part of the "
        "targets, do not count.",
        "The newest run that ended holds none.",
        "No run has ended yet.",
    ),
    ConditionType(
        "BackupPolicy", "DestinationsReachable",
        "The last survey wrote, read and deleted a small object in every destination.",
        "The last survey could not use one or more destinations. The reason is that of the first of these; "
        "the message names all.",
        "The last survey could not be made.",
    ),
    ConditionType(
        "BackupPolicy", "RecoveryVerified",
        "The newest verification of one of the policy's runs succeeded. Only a policy with `verification` "
        "has this condition.",
        "The newest verification found a damaged copy, or could not be carried out.",
        "No verification has ended yet.",
    ),
    ConditionType(
        "BackupPolicy", "RetentionActive",
        "Never: the condition is there only while retention is paused.",
        "Retention deletes nothing, in the destinations that the message names.",
    ),
    ConditionType(
        "BackupPolicy", "WithinQuota",
        "Every destination is below `quota.warnAtPercent`. Only a policy with a `quota` has this condition.",
        "A destination has reached `quota.warnAtPercent` or `quota.size`.",
    ),
)  # fmt: skip

_READY = (Where.READY, Where.POLICY_EVENT)

GROUPS = (
    Group(
        "A policy is ready, or not",
        "",
        (
            Reason("Scheduled", _READY, "The schedule makes runs.", ""),
            Reason("ManualOnly", _READY, "The policy has no schedule: a person makes its runs.", ""),
            Reason(
                "Suspended", (*_READY, Where.RUN),
                "Of a policy: `suspend` is true, so no scheduled run starts. Of a run: the policy was "
                "suspended before the run started, so the run was skipped; or the run speaks for all slots "
                "of a suspension.",
                "Set `suspend: false` to resume the schedule.",
            ),
            Reason(
                "Deleting", (*_READY, Where.RUN, Where.RUN_EVENT),
                "Somebody deleted the policy or the run, and its data is being deleted.",
                "Wait. If it lasts, look at the column REASON of the runs that the message names.",
            ),
            Reason(
                "NotSupportedYet",
                (*_READY, Where.RUN, Where.REQUEST, Where.REQUEST_EVENT, Where.BACKUP, Where.RESTORE),
                "The spec uses a field, or an engine, whose behaviour is not built yet. The message names "
                "it.",
                "Remove the field from the spec.",
            ),
            Reason(
                "NotUnderstood",
                (*_READY, Where.RUN, Where.REQUEST, Where.RUN_EVENT, Where.REQUEST_EVENT),
                "The object has a value that this release does not understand; the message names it. A "
                "newer release may have written it. Nothing is done with the object, and what it is in the "
                "middle of stays as it is.",
                "Correct the field that the message names, or install the release that wrote it.",
            ),
            Reason(
                "Forbidden",
                (Where.PERMITTED, Where.RUN, Where.REQUEST, Where.POLICY_EVENT, Where.RUN_EVENT,
                 Where.REQUEST_EVENT),
                "The API server forbids the operator something that the object needs, and has done so for "
                "some seconds. The message names the right that is missing, or the quota or admission policy "
                "that refuses. The operator retries; other objects do not wait for it.",
                "Grant the right as the message says: by `helm upgrade` of the chart with `rbac.create`. Or "
                "raise the quota, or correct the admission policy.",
            ),
            Reason(
                "RunRefused", _READY,
                "A slot is due, and the API server refuses its BackupRun: because of a ResourceQuota, an "
                "admission policy or a missing right, which the message names. The slot stays due.",
                "Raise the quota, correct the admission policy or grant the right.",
            ),
            Reason(
                "RunNameTaken", (Where.ON_SCHEDULE, Where.POLICY_EVENT),
                "An object that is not the run of a slot has its name. The slot's run has the same name with "
                "`-slot`; if that is taken too, the slot has no run.",
                "Delete the object that the message names, and do not give runs by hand such names.",
            ),
            Reason(
                "ClockWasAhead", (Where.ON_SCHEDULE, Where.POLICY_EVENT),
                "The policy's status names a slot that is still to come: the operator's clock was ahead, or "
                "the status was brought from elsewhere. If it is less than a day ahead, the slots up to that "
                "moment count as handled. If it is more, slots count from now on.",
                "See that the clocks of the nodes are right.",
            ),
            Reason(
                "SpecTooLarge", (*_READY, Where.RUN, Where.REQUEST),
                "The spec has more than 192 KiB as JSON. A run keeps parts of it in its status, and the API "
                "server stores no object of more than 1.5 MB.",
                "Make several policies or requests of it, or name fewer tenants, databases or hooks. The "
                "message names the longest part.",
            ),
            Reason(
                "SamePlace", (*_READY, Where.RUN),
                "Two destinations of the policy are the same place: one copy would count as two, and the "
                "retention of one destination would delete the copy of the other. No run starts.",
                "Change one of the fields that the message names, or remove one of the two destinations.",
            ),
            Reason(
                "RecipientInvalid", (*_READY, Where.RUN, Where.BACKUP),
                "An entry of `encryption.age.recipients` is no age X25519 recipient.",
                "Copy the recipient again; `age-keygen -y FILE` prints the recipient of an identity.",
            ),
            Reason(
                "AnnotationRefused", (*_READY, Where.RUN),
                "`runner.annotations` has an annotation of a service mesh, or of another injector, that may "
                "choose an image or commands for the pods of Jobs. The API server refuses it now; the policy "
                "is older. Jobs run without it, and no run starts.",
                "Remove the annotation that the message names.",
            ),
            Reason(
                "ScheduleInvalid", _READY,
                "A schedule is no cron expression of five fields.",
                "Correct the expression that the message names, for example to `0 2 * * *`.",
            ),
            Reason(
                "ScheduleNeverDue", _READY,
                "A schedule names a day that its months do not have, such as February 30.",
                "Correct the day or the month.",
            ),
            Reason(
                "TimeZoneUnknown", _READY,
                "The operator has no data of the time zone in `timeZone`.",
                "Use a name that `timedatectl list-timezones` shows, or an operator image with newer tzdata.",
            ),
        ),
    ),
    Group(
        "A policy's backups, quota and missed slots",
        "`BackupFresh` has the phase of the newest run as its reason; see [phases](#phases-as-reasons).",
        (
            Reason("NoRunYet", (Where.FRESH,), "No run of all targets of the policy has ended yet.", ""),
            Reason(
                "Missed", (Where.FRESH, Where.RUN, Where.POLICY_EVENT, Where.RUN_EVENT),
                "Of a policy: slots passed while no run could start. Of a run: its slot passed before the "
                "run could start.",
                "Look for the time when the operator was down, or for the run that took longer than the "
                "interval. `catchUp: Latest` still starts the newest missed slot.",
            ),
            Reason(
                "WithinQuota", (Where.QUOTA,),
                "Every destination is below its `quota.warnAtPercent`.", "",
            ),
            Reason(
                "QuotaWarning", (Where.QUOTA, Where.POLICY_EVENT),
                "A destination has reached `quota.warnAtPercent`.",
                "Raise `quota.size`, or keep fewer runs there by `retention`.",
            ),
            Reason(
                "QuotaExceeded", (Where.QUOTA, Where.POLICY_EVENT, Where.RUN, Where.RUN_EVENT),
                "A destination has reached `quota.size`. Retention may be about to delete copies there. If "
                "the destination would still be full after that, Holdfast writes no new run to it. The new "
                "run fails if the destination is required, or if all destinations are full.",
                "Raise `quota.size`, or change `retention` so that it keeps fewer runs; the next run then "
                "starts.",
            ),
            Reason(
                "RetentionDue", (Where.POLICY_EVENT,),
                "Retention no longer keeps the runs that the message names. The commit of the next run that "
                "starts deletes their copies. With `dryRun` no commit deletes them, and the message says so.",
                "To keep the runs, change `retention` before the next run starts.",
            ),
            Reason(
                "RetentionPaused", (Where.RETENTION, Where.POLICY_EVENT),
                "The operator does not know the policy's time zone, or a field of `retention` that a newer "
                "release has. So retention deletes nothing in the destinations that the message names.",
                "Use a time zone that the operator knows (see `TimeZoneUnknown`); upgrade the operator, or "
                "remove the field.",
            ),
        ),
    ),
    Group(
        "A survey of the destinations and their catalogues",
        "`DestinationsReachable` can also have a reason of [destinations](#destinations), or the reason for "
        "which the survey's Job failed.",
        (
            Reason(
                "Reachable", (Where.REACHABLE,),
                "The last survey wrote, read and deleted a small object in every destination.", "",
            ),
            Reason(
                "DestinationReachable", (Where.POLICY_EVENT,),
                "The survey can use a destination again. The survey before it could not.", "",
            ),
            Reason(
                "SurveyFailed", (Where.POLICY_EVENT,),
                "The survey could not be made. The event's message names the reason of the failure.",
                "Look that reason up here. The operator makes the next survey after a pause that grows.",
            ),
            Reason(
                "LogUnreadable", (Where.REACHABLE, Where.REQUEST, Where.TARGET),
                "The operator could not read the log of a pod: of a survey's, which lists the runs, or of a "
                "lookup's, which lists the targets of a run with long sections.",
                "Look at the message: the API server or the kubelet refused. The survey is repeated; create "
                "the RestoreRequest again.",
            ),
            Reason(
                "LogIncomplete", (Where.REACHABLE, Where.REQUEST, Where.TARGET),
                "The log of a survey's or of a lookup's pod is not what the pod wrote: it was cut off or "
                "rotated.",
                "The survey is repeated; create the RestoreRequest again. If it happens again, let the "
                "kubelet rotate logs at 10 MiB (`containerLogMaxSize`) or later.",
            ),
            Reason(
                "RunsRefused", (Where.REACHABLE,),
                "The API server forbids the operator to create or change the runs that the catalogue lists.",
                "Give the operator its role (`rbac.create` of the chart), or raise the namespace's quota.",
            ),
            Reason(
                "RunsImported", (Where.POLICY_EVENT,),
                "The survey imported runs that only the catalogue knew: they are BackupRuns now.", "",
            ),
            Reason(
                "CatalogueEmpty", (Where.POLICY_EVENT,),
                "The survey found no run in the folders that the message names, and the policy has none. "
                "This is right for a new policy.",
                "If the runs of a lost cluster were to be imported: give the namespace and the policy the "
                "names that they had there, or restore by `source.location`.",
            ),
            Reason(
                "ConditionalWritesMissing", (Where.POLICY_EVENT,),
                "The store ignores or refuses `If-None-Match`. Holdfast looks before and after it writes a "
                "manifest or an entry, but two writers at the same moment can replace each other's. A commit "
                "finds a manifest that is not its run's.",
                "Give each cluster a `prefix` or bucket of its own.",
            ),
            Reason(
                "ChecksumsMissing", (Where.POLICY_EVENT,),
                "The store refuses or drops the SHA-256 that it is sent. Parts are sent with MD5 instead. A "
                "commit reads back every byte of its run, which takes time and may cost money.", "",
            ),
            Reason(
                "RunNotBroughtBack", (Where.POLICY_EVENT,),
                "A run of the catalogue cannot be imported: a BackupRun with its name exists, or the API "
                "server refuses it.",
                "Delete the BackupRun that has the name, or restore the run by `source.location`.",
            ),
            Reason(
                "CatalogueEntryDamaged", (Where.POLICY_EVENT,),
                "An entry of a catalogue cannot be read, or is not what was stored.",
                "Find out what changed the object. The run can be restored from a destination whose entry "
                "is sound.",
            ),
            Reason(
                "DataGone", (Where.RUN, Where.POLICY_EVENT),
                "No catalogue lists the run any more: somebody deleted its data. The run is `Expired`.",
                "Find out who deletes objects in the destination. If the entry appears again, the next "
                "survey writes the run's status from it again.",
            ),
        ),
    ),
)  # fmt: skip
