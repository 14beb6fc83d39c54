"""What only Redis' backup and restore say."""

from holdfast.reasons.reason import Group, Reason, Where

_BACKUP, _RESTORE = (Where.BACKUP,), (Where.RESTORE,)
_BOTH = (Where.BACKUP, Where.RESTORE)

GROUPS = (
    Group(
        "Redis: a backup",
        "",
        (
            Reason("ReadFromReplica", (Where.RUN_EVENT,), "The backup reads a replica.", ""),
            Reason(
                "ReadFromPrimary", (Where.RUN_EVENT,),
                "The backup reads the primary. Normal event: the primary names no connected replica. "
                "Warning event: it names replicas, but the backup could use none of them.",
                "Read the message. A replica must be connected, caught up, and reachable from the namespace.",
            ),
            Reason(
                "ModuleDataNotRestored", (Where.RUN_EVENT, Where.REQUEST_EVENT),
                "A module keeps something beside keys, such as search indexes. `dump.rdb` has it, and a "
                "Redis server that loads this file has it again. A restore by Holdfast does not write it: no "
                "command does.",
                "After a restore, create the indexes, or restore by hand (README, \"Without Holdfast\").",
            ),
            Reason(
                "AclUsersNotStored", (Where.RUN_EVENT,),
                "The server has ACL users, which no snapshot holds.",
                "Keep the ACL file or the commands that made the users.",
            ),
            Reason(
                "NotOnePointInTime", (Where.RUN_EVENT,),
                "The server refuses replication, as managed servers do, so the backup reads its keys one "
                "after the other. The message says how long that took, and how many changes the server "
                "counted in that time. Warning event: it counted some, or it does not count.",
                "Give the user the ACL rules `+psync +replconf`, if the server has these commands. Otherwise "
                "choose an hour in which little is written.",
            ),
            Reason(
                "FunctionsNotStored", (Where.RUN_EVENT,),
                "The server refuses replication, and the user may not read the function libraries.",
                "Give the user the ACL rule `+function|dump`.",
            ),
            Reason(
                "SentinelListsBackup", (Where.RUN_EVENT,),
                "Sentinel takes whoever asks a primary for a snapshot for a replica, and does not forget it.",
                "Run `SENTINEL RESET` for the primary. Connect a replica and keep `preferReplica`: then the "
                "backup reads the replica.",
            ),
            Reason(
                "PrimaryForkedLong", (Where.RUN_EVENT,),
                "The primary sent the snapshot without its disk, so its fork lived as long as the transfer "
                "to the destinations.",
                "Connect a replica, or set `repl-diskless-sync no` if the server's disk has room.",
            ),
            Reason(
                "AclUsersUnknown", (Where.RUN_EVENT,),
                "The user of the backup may not list the server's ACL users, which no snapshot holds.",
                "To see them named, give the user the ACL rule `+acl|users`.",
            ),
            Reason(
                "SourceNotReady", _BACKUP,
                "The server loads its data, is busy with a script, or is a replica without its primary.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "SourceRefused", _BACKUP,
                "The server refused a command, or answered with something that is no snapshot.",
                "Read the message. The user needs the ACL rules that the README lists.",
            ),
            Reason(
                "SourceConnectionLost", _BACKUP,
                "The connection to the server broke, or was silent for two minutes.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "StreamCutOff", _BACKUP,
                "The snapshot broke off before its end.",
                "When it repeats, raise the server's `repl-timeout`: the destinations may be slower than it "
                "allows.",
            ),
            Reason(
                "SnapshotDamaged", _BACKUP,
                "What the server sent is no whole RDB.",
                "Look at the server's log. The Job makes another attempt.",
            ),
            Reason(
                "FormatNotSupported", _BACKUP,
                "The server is Valkey 9 or later and holds something that only its own format has, such as "
                "hash fields with a time to live. Holdfast does not read this format.",
                "Use `valkey-cli --rdb` for this server, or a server of Valkey 8.",
            ),
            Reason(
                "CountsDisagree", _BACKUP,
                "The snapshot's own counts do not add up.", "Read `logTail`, and report it as a defect.",
            ),
            Reason(
                "ClusterNotSupported", _BOTH,
                "The server is a node of a Redis Cluster. A node holds only a part of the keys.",
                "Name a server that is not in cluster mode.",
            ),
            Reason(
                "CertificateMissing", _BOTH,
                "The Secret in `tls.caSecret` or the ConfigMap in `tls.caConfigMap` has no key `ca.crt`.",
                "Add the key.",
            ),
            Reason(
                "ClientCertificateRefused", _BOTH,
                "The server asks for a client certificate, or refuses the one in `tls.clientCertSecret`.",
                "Name a Secret with a certificate and its key that the server's CA has signed.",
            ),
        ),
    ),
    Group(
        "Redis: a restore",
        "",
        (
            Reason(
                "TargetUnreachable", _RESTORE,
                "The server that is restored to cannot be reached.",
                "Check `service` or `host`, the port, NetworkPolicies, and that the server runs.",
            ),
            Reason(
                "TargetConnectionLost", _RESTORE,
                "The restore lost its connection to the server.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "TargetNotReady", _RESTORE,
                "The server loads its data, is busy with a script, or is a replica without its primary.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason("TargetRefused", _RESTORE, "The server refused a command.", "Read the message."),
            Reason(
                "Primary", (Where.PREFLIGHT,), "The server is a replica.", "Restore to its primary.",
            ),
            Reason(
                "ClusterMode", (Where.PREFLIGHT,),
                "The server is a node of a Redis Cluster, which takes only a part of the keys.",
                "Name a server that is not in cluster mode.",
            ),
            Reason(
                "RdbVersion", (Where.PREFLIGHT,),
                "The server is too old for the backup's RDB version, or of another kind.",
                "Restore to a server as new as the backup's source.",
            ),
            Reason(
                "Databases", (Where.PREFLIGHT,),
                "The server has fewer databases than the backup.",
                "Raise its setting `databases`, or leave databases out in the request.",
            ),
            Reason(
                "Memory", (Where.PREFLIGHT,),
                "The server's `maxmemory`, or its machine's memory, does not hold the backup. How much the "
                "backup needs is estimated from what its source used.",
                "Raise `maxmemory`. `acceptedRisks: [Memory]` tries it all the same.",
            ),
            Reason(
                "Modules", (Where.PREFLIGHT,),
                "The backup's source had modules that the server lacks. Keys of their types cannot be "
                "restored. This never blocks.",
                "Load the modules there.",
            ),
            Reason(
                "TargetOlderThanBackup", _RESTORE,
                "The server is too old for the backup's RDB version.",
                "Restore to a server as new as the backup's source.",
            ),
            Reason(
                "TargetTooSmall", _RESTORE,
                "The server's `maxmemory` did not hold the backup. What was restored has been deleted.",
                "Raise `maxmemory`.",
            ),
            Reason(
                "TargetEvicted", _RESTORE,
                "The server evicted keys during the restore. What was restored has been deleted.",
                "Raise `maxmemory` and create a new request.",
            ),
            Reason(
                "TargetWrittenMeanwhile", _RESTORE,
                "Somebody wrote a key of the backup during the restore. What was restored has been deleted, "
                "and what they wrote has not.",
                "Stop the writers, empty the databases and create a new request.",
            ),
            Reason(
                "NotInBackup", _RESTORE,
                "`databases` names a database that the backup does not hold.", "Correct `databases`.",
            ),
            Reason(
                "BackupNewerThanClient", _RESTORE,
                "The backup's RDB version is newer than this version of Holdfast.",
                "Use a newer version of Holdfast.",
            ),
            Reason(
                "BackupNotUnderstood", _RESTORE,
                "The backup holds something that Holdfast cannot read.",
                "Restore by hand: a Redis server loads the file (README, \"Without Holdfast\").",
            ),
            Reason(
                "ValueTooLarge", _RESTORE,
                "A value is larger than the server's `proto-max-bulk-len`.", "Raise `proto-max-bulk-len`.",
            ),
            Reason(
                "Compared", (Where.REQUEST_EVENT,),
                "The message says how many keys the restore counted and how many values it read back.", "",
            ),
            Reason(
                "KeysExpired", (Where.REQUEST_EVENT,),
                "Some keys have expired since the backup, so the restore left them out.", "",
            ),
            Reason(
                "ValuesNotReadBack", (Where.REQUEST_EVENT,),
                "The restore reads a sample of the values back. It could not compare some of them, because "
                "they are too large or of a kind that cannot be compared.", "",
            ),
        ),
    ),
)  # fmt: skip
