"""What a Backup or Restore Job of any engine fails with, or reports."""

from holdfast.reasons.reason import Group, Reason, Where

_BACKUP, _RESTORE = (Where.BACKUP,), (Where.RESTORE,)
_BOTH = (Where.BACKUP, Where.RESTORE)

GROUPS = (
    Group(
        "Connecting to a server",
        "Several engines say these.",
        (
            Reason(
                "SourceUnreachable", _BOTH,
                "A backup cannot reach the server that it reads. For PostgreSQL and Chroma, this reason "
                "also means that a restore cannot reach the server that it writes to.",
                "Check `service` or `host`, the port, NetworkPolicies, and that the server runs.",
            ),
            Reason(
                "AuthenticationFailed",
                (Where.BACKUP, Where.RESTORE, Where.COMMIT, Where.LOOKUP, Where.REACHABLE),
                "The server or the store refused the login.",
                "Correct the Secret that `credentialsSecret` names; for PostgreSQL check pg_hba.conf too.",
            ),
            Reason(
                "CredentialsMissing",
                (Where.BACKUP, Where.RESTORE, Where.COMMIT, Where.LOOKUP, Where.REACHABLE),
                "A key of a Secret holds no credential, or nothing names credentials for a bucket.",
                "Correct the key that the message names, or name a `credentialsSecret`.",
            ),
            Reason(
                "CertificateNotTrusted",
                (Where.BACKUP, Where.RESTORE, Where.COMMIT, Where.LOOKUP, Where.REACHABLE),
                "The certificate of the server or of the store is not signed by a known authority, or does "
                "not name the host.",
                "Unknown authority: put its certificate into the key `ca.crt` of the Secret in "
                "`tls.caSecret` or `s3.caSecret`. Wrong host: set `service`, `host` or `endpoint` to a name"
                " that is in the certificate.",
            ),
            Reason(
                "PermissionDenied", _BOTH,
                "The role or user may not do what the message names.",
                "Grant the right; the message names the GRANT or the ACL rule.",
            ),
            Reason(
                "DatabaseNotFound", _BOTH,
                "The spec names a database that the server or the backup does not have, or the database "
                "accepts no connections.",
                "Correct the name in `databases`, `tenants` or `rename`.",
            ),
            Reason(
                "ToolMissing", _BOTH,
                "The image lacks a program of the engine.",
                "Use the image that Holdfast builds; for PostgreSQL `majorVersion` chooses it.",
            ),
            Reason(
                "ServerNewerThanClient", _BACKUP,
                "The server is newer than the tools in the image.",
                "PostgreSQL: set `majorVersion` to the server's. Redis: use a newer version of Holdfast.",
            ),
        ),
    ),
    Group(
        "Reading a source",
        "",
        (
            Reason(
                "ProducerFailed", _BOTH,
                "A program that reads or writes the server ended with an error.",
                "Read the message and `logTail`. The Job makes another attempt.",
            ),
            Reason(
                "EmptyOutput", _BACKUP,
                "The source gave not one byte for an artifact.",
                "Look at the server. The Job makes another attempt.",
            ),
            Reason(
                "NameTooLong", _BACKUP,
                "A name in the source is too long for a file name in a destination.",
                "Rename it in the source.",
            ),
            Reason(
                "EncryptionChanged", _BACKUP,
                "An earlier attempt of the run stored the target for other recipients than the policy names "
                "now.",
                "Create a new run.",
            ),
        ),
    ),
    Group(
        "Writing to a target",
        "",
        (
            Reason(
                "TargetNotEmpty", _RESTORE,
                "Something exists where the restore has to write. The restore touched nothing.",
                "Remove it, restore to another server, or use `rename` where the engine has it.",
            ),
        ),
    ),
)  # fmt: skip
