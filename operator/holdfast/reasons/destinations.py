"""What a bucket or a volume makes a Job fail with."""

from holdfast.reasons.reason import Group, Reason, Where

_READ = (Where.BACKUP, Where.COMMIT, Where.RESTORE, Where.LOOKUP, Where.REACHABLE)
_WRITE = (Where.BACKUP, Where.COMMIT, Where.REACHABLE)
_STORED = (Where.BACKUP, Where.COMMIT, Where.RESTORE, Where.LOOKUP)

GROUPS = (
    Group(
        "Destinations",
        "If a required destination has one of these problems, the run fails with this reason. If an optional "
        "destination has it, the run only has a gap: the run is `PartiallySucceeded` with the reason "
        "`CopyMissing`, and the message names the cause.",
        (
            Reason(
                "DestinationUnreachable", (*_READ, Where.POLICY_EVENT),
                "The store cannot be reached, or the volume is not mounted. The event of a policy with this"
                " name covers every reason: the last survey could not use the destination.",
                "If the event of a policy names another reason, look that one up. Otherwise check "
                "`endpoint`, DNS and NetworkPolicies, or the claim.",
            ),
            Reason(
                "ClaimNotFound", _READ,
                "The namespace has no PersistentVolumeClaim of the name in `volume.claimName`.",
                "Create the claim, or correct `volume.claimName`.",
            ),
            Reason(
                "ClaimMounted", (Where.REACHABLE, Where.RUN, Where.RUN_EVENT, Where.TARGET),
                "A pod that is not Holdfast's mounts the claim of a volume: it may be an application's data. "
                "No Job that writes mounts the claim. A restore reads from it, and so does a verification. "
                "As long as an optional destination has this problem, commits delete and heal nothing.",
                "Correct `volume.claimName`, end the pod, or set `volume.allowMounted: true` if the pod and "
                "Holdfast may both write there.",
            ),
            Reason(
                "DestinationFailed", _READ,
                "The store or the file system gave an error that has no reason of its own.",
                "Read the message.",
            ),
            Reason(
                "DestinationFull", _WRITE,
                "The bucket, or the volume, has no room left.",
                "Make room, or enlarge the bucket or the volume. An optional destination may become free by"
                " itself: later commits delete the copies there that retention does not keep.",
            ),
            Reason(
                "DestinationThrottled", _READ,
                "The store asks for fewer requests. The Job has repeated the request before it failed.",
                "Schedule fewer runs at the same time, or raise the store's limits.",
            ),
            Reason(
                "AccessDenied", _READ,
                "The credentials, or the user of the pod, may not do what the message names.",
                "Grant the permission; `docs/copies.md`, `docs/destinations.md` and `docs/retention.md` "
                "list those of a bucket. A volume must be writable for the pods' group.",
            ),
            Reason(
                "BucketNotFound", _READ,
                "The bucket does not exist.", "Create it, or correct `s3.bucket` or `gcs.bucket`.",
            ),
            Reason(
                "InvalidAccessKeyId", _READ,
                "The store does not know the access key.", "Correct `AWS_ACCESS_KEY_ID` in the Secret.",
            ),
            Reason(
                "SignatureDoesNotMatch", _READ,
                "The secret key does not belong to the access key.",
                "Correct `AWS_SECRET_ACCESS_KEY` in the Secret.",
            ),
            Reason(
                "CredentialsExpired", _READ,
                "The temporary credentials have expired.", "Put new credentials into the Secret.",
            ),
            Reason(
                "ClockSkewed", _READ,
                "The clocks of the node and of the store differ too much.", "Correct the node's clock.",
            ),
            Reason("RegionWrong", _READ, "The bucket lies in another region.", "Correct `s3.region`."),
            Reason(
                "StorageClassInvalid", _WRITE,
                "The store does not know the storage class.", "Correct `s3.storageClass`, or remove it.",
            ),
            Reason(
                "ObjectArchived", _STORED,
                "An object lies in an archive class and cannot be read.",
                "Make sure that no lifecycle rule moves `*.json` to an archive class. A restore thaws "
                "artifacts itself.",
            ),
            Reason(
                "ObjectLockMissing", (Where.BACKUP,),
                "The policy asks for `objectLock`, and the bucket has no object lock.",
                "Name a bucket that was made with object lock, or remove `objectLock`.",
            ),
            Reason(
                "ObjectLockNotApplied", (Where.BACKUP, Where.COMMIT),
                "The store locked an object for less than the policy asks for.",
                "Look at the bucket's object lock and at the credentials' permissions "
                "(`docs/destinations.md`).",
            ),
            Reason(
                "ChecksumMissing", (Where.BACKUP, Where.COMMIT),
                "The store keeps no SHA-256 of an object in an archive class, and the commit cannot read "
                "the object back: so the commit cannot verify it.",
                "Use another `s3.storageClass` for this store.",
            ),
            Reason(
                "ChecksumRefused", (Where.BACKUP, Where.COMMIT),
                "The store received other bytes than were sent.",
                "Nothing, when a retry succeeds. Otherwise look for a proxy between the node and the store.",
            ),
            Reason(
                "ProbeFailed", _WRITE,
                "A small object was written, and could not be read as it was written.",
                "Look at the store: a cache, replication with delay, or another writer.",
            ),
        ),
    ),
    Group(
        "What is stored is not what was written",
        "A run that meets these does not succeed, and a restore that meets them does not either.",
        (
            Reason(
                "ChecksumMismatch", (*_STORED, Where.VERIFICATION, Where.VERIFIED, Where.RECOVERY),
                "An object is missing, or its size or SHA-256 is not what was stored. The message names "
                "destination and object.",
                "Restore from another destination by `source.location`, or restore an older run. Find out "
                "what changed the object, and create a new run.",
            ),
            Reason(
                "DocumentInvalid", _STORED,
                "A manifest or an entry cannot be read as such a document.", "As for `ChecksumMismatch`.",
            ),
            Reason(
                "RunAlreadyStored", (Where.BACKUP, Where.COMMIT),
                "The run's folder in a destination holds another run of the same name.",
                "Give the run another name, or delete that folder when nobody needs it.",
            ),
            Reason(
                "ManifestConflict", (Where.BACKUP,),
                "Two attempts of the run wrote the manifest of one target.",
                "Nothing, if a retry succeeds: the new attempt uses the target that an earlier attempt "
                "stored. Otherwise create a new run.",
            ),
            Reason(
                "CatalogueConflict", (Where.COMMIT,),
                "The run's entry disappeared while the commit read it.",
                "Find out who else writes in the bucket. The Job makes another attempt.",
            ),
            Reason(
                "TargetMissing", (Where.COMMIT,),
                "A destination lacks a target of the run that is being committed.",
                "Look for the warnings of that target in the run's status.",
            ),
        ),
    ),
)  # fmt: skip
