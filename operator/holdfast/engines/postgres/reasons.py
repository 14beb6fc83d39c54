"""What only PostgreSQL's backup and restore say."""

from holdfast.reasons.reason import Group, Reason, Where

_BACKUP, _RESTORE = (Where.BACKUP,), (Where.RESTORE,)
_PREFLIGHT = (Where.PREFLIGHT,)
_OMITTED, _NOTED = (Where.OMISSION,), (Where.RUN_EVENT,)
_UNFIT = (Where.BACKUP, Where.RUN_EVENT)
_UNFIT_NOTE = " As an event: the backup reads the primary instead."

GROUPS = (
    Group(
        "PostgreSQL: the server that is read",
        "",
        (
            Reason(
                "ReadFromStandby", (Where.RUN_EVENT,),
                "The backup reads the standby; the message has its lag.", "",
            ),
            Reason(
                "PrimaryUnreachable", (Where.RUN_EVENT,),
                "The primary cannot be reached, so the standby's lag is unknown. The backup reads the "
                "standby.",
                "Look at the primary.",
            ),
            Reason(
                "PrimaryInRecovery", _BACKUP,
                "The policy names a standby, and the server at the target's own address is a standby itself.",
                "Let `service` or `host` name the primary, and `standby` the standby.",
            ),
            Reason(
                "StandbyLagging", _UNFIT,
                "The standby lags more than `standby.maxLag`, or its lag is unknown. Or the primary cannot "
                "be reached, and the standby has not replayed all that it received."
                + _UNFIT_NOTE,
                "Find out what slows replication, or raise `standby.maxLag`.",
            ),
            Reason(
                "StandbyUnreachable", _UNFIT,
                "The standby cannot be reached, or its connection broke before the backup started to read."
                + _UNFIT_NOTE,
                "Check the standby's `service` or `host` and the server.",
            ),
            Reason(
                "StandbyNotInRecovery", _UNFIT,
                "The server in `standby` accepts writes, so it is no standby." + _UNFIT_NOTE,
                "Correct `standby`; after a failover the roles may have changed.",
            ),
            Reason(
                "StandbyNotStreaming", _UNFIT,
                "The standby receives no write-ahead log: it has no WAL receiver." + _UNFIT_NOTE,
                "Repair the replication.",
            ),
            Reason(
                "StandbyOfAnotherCluster", _BACKUP,
                "The standby is no copy of the primary: their system identifiers differ.",
                "Correct `standby`, or the target's own address.",
            ),
            Reason(
                "StandbyConflict", _UNFIT,
                "The standby cancelled the read so that it could go on with its replay. Or the server that "
                "the backup reads, also a primary, ended the transaction for a deadlock or a serialization "
                "failure." + _UNFIT_NOTE,
                "Cancelled read: raise `max_standby_streaming_delay` or set `hot_standby_feedback` on the "
                "standby. Deadlock or serialization failure: nothing, if a retry succeeds.",
            ),
            Reason(
                "StandbyFailed", (Where.RUN_EVENT,),
                "The standby failed while the backup read it. The backup then reads the primary.",
                "Read the message.",
            ),
        ),
    ),
    Group(
        "PostgreSQL: a backup",
        "",
        (
            Reason(
                "SourceFailed", (Where.BACKUP, Where.RESTORE),
                "The server gave an error that has no reason of its own.", "Read the message.",
            ),
            Reason(
                "SourceLost", (Where.BACKUP, Where.RESTORE),
                "The server closed the connection, starts up or shuts down.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "SnapshotLost", _BACKUP,
                "The server does not know the backup's snapshot any more, for example after a restart.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "LockTimeout", (Where.BACKUP, Where.RESTORE),
                "Another session held a lock on a table. A backup waits less than a second for it, so that "
                "nobody waits behind the backup, and asks again for two minutes.",
                "Look for sessions that hold an exclusive lock, such as a migration. The Job makes another "
                "attempt.",
            ),
            Reason(
                "TablesChanging", _BACKUP,
                "For two minutes, whenever the backup took its snapshot, a table was dropped before the dump "
                "had its lock.",
                "Back up when fewer tables change. The Job makes another attempt.",
            ),
            Reason(
                "SessionsWaited", _NOTED,
                "A session of the application waited for the lock of a table until the dump ended. The dump "
                "had given way to such sessions five times.",
                "Change tables at another time, or let the backup read a standby.",
            ),
            Reason(
                "PoolerRefused", (Where.BACKUP, Where.RESTORE),
                "The address is that of a connection pooler, such as PgBouncer. A pooler would give the "
                "settings of the Job's session to the application.",
                "Let `service` or `host` name the PostgreSQL server itself.",
            ),
            Reason(
                "TlsFailed", (Where.BACKUP, Where.RESTORE),
                "The encrypted connection cannot be made as `tls` asks.",
                "Check `tls.mode`, and key `ca.crt` of the Secret in `tls.caSecret`.",
            ),
            Reason(
                "ServerOlderThanClient", (Where.RUN_EVENT,),
                "The server is older than `majorVersion`, so the dump may hold what that server refuses.",
                "Set `majorVersion` to the server's.",
            ),
            Reason(
                "LongTransaction", (Where.RUN_EVENT,),
                "A transaction is open for more than an hour. It holds back VACUUM.",
                "End it when nobody needs it; the message has its pid.",
            ),
            Reason(
                "DatabasesLeftOut", _NOTED,
                "The backup leaves out the databases that the message names: `databases` does not name "
                "them, or they are templates, accept no connections, or belong to the provider of a managed "
                "server.",
                "Name them in `databases`, if they matter.",
            ),
            Reason(
                "PasswordsNotReadable", _NOTED,
                "With `passwords: Auto` the role of the backup cannot read the verifiers of passwords, so "
                "the backup has none.",
                "`GRANT pg_read_all_data` to the role, or set the passwords by hand after a restore.",
            ),
            Reason(
                "DatabaseInvalid", _OMITTED,
                "DROP DATABASE was interrupted, so nobody can connect to the database any more.",
                "Drop it.",
            ),
            Reason(
                "DatabaseNameNotUtf8", _OMITTED,
                "The server has the name of a database in bytes that are no UTF-8, and compares these bytes "
                "at a login.",
                "Rename the database.",
            ),
            Reason(
                "TableRewritten", _OMITTED,
                "For two minutes, whenever the backup took its snapshot, the table was emptied or rewritten "
                "before the dump had its lock. The snapshot does not show the rows that it had.",
                "Replace the rows less often, or by `DELETE` instead of `TRUNCATE`.",
            ),
            Reason(
                "ExtensionRows", _OMITTED,
                "pg_dump leaves out the rows of a table that belongs to an extension, unless the extension "
                "registers the table with `pg_extension_config_dump`.",
                "Take the table out of the extension (`ALTER EXTENSION … DROP TABLE`), or save its rows by "
                "other means.",
            ),
            Reason(
                "AddedToExtension", _OMITTED,
                "pg_dump leaves out triggers and indexes that somebody added to a table of an extension.",
                "Keep the statements that made them.",
            ),
            Reason(
                "ForeignRows", _OMITTED,
                "pg_dump leaves out the rows of foreign tables.", "Back up the server that has the rows.",
            ),
            Reason(
                "InSystemSchema", _OMITTED,
                "pg_dump leaves out what somebody made in the schema `pg_catalog`.",
                "Move it to a schema of your own.",
            ),
            Reason(
                "DatabaseLabels", _OMITTED,
                "The backup has no security labels of a database itself.",
                "Keep the statements that made them.",
            ),
            Reason(
                "SubscriptionsNotDumped", _OMITTED,
                "The role is no superuser, so the backup lacks subscriptions.",
                "Use a superuser, or make the subscriptions by hand after a restore.",
            ),
            Reason(
                "UnloggedTablesEmpty", _OMITTED,
                "A standby has no rows of unlogged tables, and the primary could not be read for them.",
                "Let `service` or `host` name the primary, or make the tables logged.",
            ),
            Reason(
                "SequencesAhead", _OMITTED,
                "A standby shows sequences up to 32 values ahead, and the primary could not be asked for "
                "their last values. Restored sequences may leave a gap.",
                "Let `service` or `host` name the primary.",
            ),
        ),
    ),
    Group(
        "PostgreSQL: a restore",
        "",
        (
            Reason(
                "RenameCollides", _RESTORE,
                "`rename` gives two databases the same name.", "Correct `rename`.",
            ),
            Reason(
                "RestoreFailed", _RESTORE,
                "`pg_restore` ended with an error.", "Read the message and `logTail`.",
            ),
            Reason(
                "DumpUnreadable", _RESTORE,
                "`pg_restore` cannot read the dump.", "Read the message and `logTail`; restore another run.",
            ),
            Reason(
                "TargetFull", _RESTORE,
                "The disk of the server that is restored to is full.",
                "Make room. The Job makes another attempt.",
            ),
            Reason(
                "ObjectFailed", (Where.FAILED_OBJECTS,),
                "The server refused to make the object again; the message has the server's words.",
                "Put the object in place by hand, or restore with `onObjectError: Continue`.",
            ),
            Reason(
                "StatisticsMissing", (Where.REQUEST_EVENT,),
                "`ANALYZE` of a restored table failed, so the planner does not know its data.",
                "Run `ANALYZE` by hand.",
            ),
            Reason(
                "Discarded", (Where.REQUEST_EVENT,),
                "The restored databases differ from the backup, so they were dropped again.",
                "See `RestoreMismatch`.",
            ),
            Reason(
                "RestoredDiffers", (Where.REQUEST_EVENT,),
                "Something without data is not as in the backup: an extension has another version, a "
                "materialized view has other rows once it is refreshed, an extension made an object first, "
                "or the role may not make it.",
                "Nothing, unless the application needs what the message names.",
            ),
            Reason(
                "TablespacesMissing", (Where.PREFLIGHT, Where.REQUEST_EVENT),
                "The server lacks tablespaces of the backup, so everything is restored to the default one.",
                "Make the tablespaces and restore again, if they matter.",
            ),
            Reason(
                "SubscriptionsDisabled", (Where.REQUEST_EVENT,),
                "The restored subscriptions are disabled.", "Enable them by hand.",
            ),
            Reason(
                "PasswordsNotRestored", (Where.REQUEST_EVENT,),
                "The backup holds no password of a role, so the restored role has none.",
                "Set a password for the roles that the message names.",
            ),
            Reason(
                "RolesLeftAlone", (Where.REQUEST_EVENT,),
                "The restore does not change roles that exist already. It left out the statements that would "
                "change their attributes, settings, labels or memberships.",
                "If you want these changes, apply the statements from the message by hand.",
            ),
            Reason(
                "RoleIncomplete", (Where.REQUEST_EVENT,),
                "A role could not be made, or lacks something that it had.",
                "Apply what the message names by hand with the needed rights.",
            ),
        ),
    ),
    Group(
        "PostgreSQL: what a restore asks the server for",
        "",
        (
            Reason(
                "ServerVersion", _PREFLIGHT,
                "The server is a primary, and its version and `pg_restore`'s are new enough.", "",
            ),
            Reason("Rights", _PREFLIGHT, "The role may make the databases for their owners.", ""),
            Reason("Extensions", _PREFLIGHT, "The server has the extensions of the backup.", ""),
            Reason("Settings", _PREFLIGHT, "The server takes the settings of the databases.", ""),
            Reason(
                "ServerOlderThanBackup", _PREFLIGHT,
                "The server is older than the one that was backed up.",
                "Restore to a server as new as the backup's. `acceptedRisks` may lift it: what the server "
                "does not know is then among the objects that failed.",
            ),
            Reason(
                "ClientOlderThanBackup", _PREFLIGHT,
                "`pg_restore` in the image is older than the `pg_dump` that made the backup.",
                "Set `majorVersion` to the value that the message names.",
            ),
            Reason(
                "TargetIsStandby", _PREFLIGHT,
                "The server that is restored to is a standby.", "Restore to its primary.",
            ),
            Reason(
                "OwnerMissing", _PREFLIGHT,
                "The role may not make a database or objects for their owner.",
                "As a superuser grant the owner to the role, or set `ownership: Skip`. For owners of objects "
                "`acceptedRisks` may lift it: the role then owns them.",
            ),
            Reason(
                "ExtensionMissing", _PREFLIGHT,
                "The server lacks an extension that the backup uses.",
                "Install its package. `acceptedRisks` may lift it: what needs the extension is then among "
                "the objects that failed.",
            ),
            Reason(
                "ExtensionVersion", _PREFLIGHT,
                "The server has an older version of an extension than the backup.",
                "Install a version as new as the backup's. `acceptedRisks` may lift it.",
            ),
            Reason(
                "ExtensionRefused", _PREFLIGHT,
                "The server has the extension and refuses to make it in the database.",
                "Read the message. `acceptedRisks` may lift it.",
            ),
            Reason(
                "Locale", _PREFLIGHT,
                "The server lacks the locale of a database.",
                "Install the locale. With `acceptedRisks: [Locale]` the database gets the server's own.",
            ),
            Reason(
                "CollationVersion", _PREFLIGHT,
                "The server's library orders text by another version of the locale. A warning only: the "
                "restore builds every index by the new order.",
                "Look at partitions and CHECKs that compare text.",
            ),
            Reason(
                "StagedCopies", _PREFLIGHT,
                "The server holds copies that other restores have staged. They take room.",
                "Delete the requests that have ended, or drop databases that the message names.",
            ),
            Reason(
                "SettingRefused", (Where.PREFLIGHT, Where.REQUEST_EVENT),
                "The server refuses a setting or a grant of the database. The restore goes on without it.",
                "Set by hand what replaces it.",
            ),
        ),
    ),
)  # fmt: skip
