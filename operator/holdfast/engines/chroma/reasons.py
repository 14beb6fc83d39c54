"""What only Chroma's backup and restore say."""

from holdfast.reasons.reason import Group, Reason, Where

_BACKUP, _RESTORE = (Where.BACKUP,), (Where.RESTORE,)
_BOTH = (Where.BACKUP, Where.RESTORE)

GROUPS = (
    Group(
        "Chroma: the server",
        "",
        (
            Reason(
                "InvalidCredentials", _BOTH,
                "The Secret of `credentialsSecret` holds neither `token` nor `username` and `password`.",
                "Add the keys.",
            ),
            Reason(
                "InvalidCertificateAuthority", _BOTH,
                "Key `ca.crt` of the Secret in `tls.caSecret` holds no PEM certificate.",
                "Correct the Secret.",
            ),
            Reason("ServerTooOld", _BOTH, "The server is older than Chroma 1.0.", "Upgrade the server."),
            Reason(
                "ServerFailed", _BOTH,
                "The server answered with an error of its own (5xx), also after repeated requests.",
                "Read the server's log.",
            ),
            Reason("RequestRefused", _BOTH, "The server refused a request (4xx).", "Read the message."),
            Reason(
                "NotFound", _BOTH,
                "Something that the Job had found before is not there any more.",
                "Find out who deletes collections during the backup or restore.",
            ),
            Reason(
                "ReplyUnreadable", _BOTH,
                "The server's list of ids ended too early.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "CollectionsKeepChanging", _BOTH,
                "No two listings of the collections or databases were alike.",
                "Run the backup when fewer of them are made and deleted.",
            ),
        ),
    ),
    Group(
        "Chroma: a backup",
        "",
        (
            Reason("TenantNotFound", _BACKUP, "The server has no tenant of that name.", "Correct `tenants`."),
            Reason(
                "ChangedDuringBackup", (Where.RUN_EVENT,),
                "Rows were added or deleted during the backup. If the event is a warning, the backup lacks "
                "some of the rows that were added last.",
                "Pause the writer by [hooks](../hooks.md), if every row matters.",
            ),
            Reason(
                "DeletedDuringBackup", (Where.RUN_EVENT,),
                "Collections were deleted before the backup read them.", "",
            ),
            Reason(
                "UnreadableEmbeddings", (Where.RUN_EVENT,),
                "The server does not give the embeddings of some rows. The backup lacks these rows.",
                "Write the rows again, or delete them.",
            ),
            Reason(
                "OverflowedEmbeddings", (Where.RUN_EVENT,),
                "The server returns some cosine embeddings as nulls, because their length overflows. The "
                "backup stores a value that overflows too, so after a restore the server returns nulls "
                "again.",
                "Write shorter embeddings.",
            ),
        ),
    ),
    Group(
        "Chroma: a restore",
        "",
        (
            Reason(
                "NoSuchCollection", _RESTORE,
                "`include` or `rename` names a collection that the backup does not hold.",
                "Correct the name.",
            ),
            Reason(
                "NamesCollide", _RESTORE,
                "Two collections would get the same tenant, database and name.",
                "Restore them one by one, with `include` and `rename`.",
            ),
            Reason(
                "CollectionExists", _RESTORE,
                "A collection exists where the restore has to write.",
                "Delete it, or restore to another `database` or by `rename`.",
            ),
            Reason(
                "CollectionRefused", _RESTORE,
                "The server refused to create a collection.",
                "Read the message; the server's version may differ.",
            ),
            Reason(
                "RowsVanished", _RESTORE,
                "Rows that were just written are not there.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "ArtifactIncomplete", _RESTORE,
                "The artifact lacks a collection that its manifest names.", "Restore another run.",
            ),
            Reason(
                "ArtifactUnreadable", _RESTORE,
                "A line of the artifact cannot be understood.",
                "Restore another run, and report it as a defect.",
            ),
            Reason(
                "ManifestMismatch", _RESTORE,
                "The artifact holds other rows of a collection than its manifest says.",
                "Restore another run.",
            ),
            Reason(
                "FormatUnknown", _RESTORE,
                "A newer version of Holdfast made the backup.", "Restore with that version.",
            ),
            Reason(
                "SettingsDiffer", (Where.REQUEST_EVENT,),
                "The server does not take some settings of a collection.", "Read the message.",
            ),
            Reason(
                "RoundedNumbers", (Where.REQUEST_EVENT,),
                "The server cannot store some numbers of the metadata exactly: they differ from the "
                "backup in the sixteenth digit.", "",
            ),
        ),
    ),
)  # fmt: skip
