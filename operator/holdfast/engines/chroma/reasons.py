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
            Reason(
                "RequestRefused", _BOTH,
                "The server, or a proxy on the way to it, refused a request (4xx). A request with many rows "
                "is divided first.",
                "Read the message. After 413, raise the limit that the proxy has for the size of a body.",
            ),
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
                "CollectionNotFound", _BACKUP,
                "`collections.include` names a collection that no database of the target has.",
                "Correct the name, or use a pattern such as `docs*`, which may match nothing.",
            ),
            Reason(
                "LeftOutByPolicy", (Where.RUN_EVENT,),
                "The server has databases or collections that the policy does not choose.",
                "Nothing, if this is intended. Otherwise correct `tenants` or `collections`.",
            ),
            Reason(
                "PatternMatchesNothing", (Where.OMISSION, Where.RUN_EVENT),
                "No collection has a name that a pattern of `collections` matches.",
                "Correct the pattern.",
            ),
            Reason(
                "DeletedDuringBackup", (Where.RUN_EVENT,),
                "Collections or databases were deleted during the backup, and not made again. The backup has "
                "what was read of them until then.", "",
            ),
            Reason(
                "UnreadableDatabase", (Where.OMISSION,),
                "The server cannot list the collections of a database. The backup has the others.",
                "Read the server's log.",
            ),
            Reason(
                "UnreadableCollection", (Where.OMISSION,),
                "The server gives nothing of a collection, or somebody deletes and creates it all the "
                "time. The backup has the others.",
                "Read the server's log. Then restore the collection from an older run.",
            ),
            Reason(
                "UnreadableRows", (Where.OMISSION,),
                "The server gives nothing of some rows, or ends when it is asked for them.",
                "Write the rows again, or delete them.",
            ),
            Reason(
                "UnreadableEmbeddings", (Where.OMISSION,),
                "The server does not give the embeddings of some rows, for example because the index of the "
                "collection is broken. The backup has the documents and the metadata of these rows, and "
                "zeros in place of the embeddings.",
                "Embed the documents of these rows again. If a whole collection is affected, make a new "
                "collection.",
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
                "A collection with records exists where the restore has to write. An empty one is replaced.",
                "Delete it, or restore to another `database` or by `rename`.",
            ),
            Reason(
                "RowsMovedAside", (Where.REQUEST_EVENT,),
                "Everything is restored and in place. At the same moment an application wrote to an empty "
                "collection of its own, which was moved aside. The message names the collection that has "
                "these rows.",
                "Copy the rows, then delete that collection.",
            ),
            Reason(
                "LeftByOtherRequests", (Where.REQUEST_EVENT,),
                "The server has collections of other restore requests that neither put them in place nor "
                "deleted them.",
                "Delete the collections that the message names, unless such a request is under way.",
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
                "BatchSize", (Where.PREFLIGHT,),
                "How many rows the server takes at once. More are divided.", "",
            ),
            Reason(
                "DatabaseMissing", (Where.PREFLIGHT,),
                "The server lacks databases or tenants of the backup. The restore creates them.", "",
            ),
            Reason(
                "Dimension", (Where.PREFLIGHT,),
                "Whether an empty collection that the restore replaces has another dimension than the one of "
                "the backup.",
                "If the line is `Warned`, the application uses another embedding model than before. Let it "
                "use the model that the backup's collections were made with.",
            ),
            Reason(
                "EmbeddingsLacking", (Where.REQUEST_EVENT,),
                "The source did not give the embeddings of some rows when it was backed up. These rows have "
                "their documents and metadata again, and zeros for an embedding.",
                "Embed the documents of these rows again.",
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
