"""What Jobs and their pods fail with, whatever they do; partly in Kubernetes' own words."""

from holdfast.reasons.reason import Group, Reason, Where

_JOB = (Where.ANY_JOB,)
_WAITING = (Where.WAITING, Where.ANY_JOB)

GROUPS = (
    Group(
        "A Job cannot be made",
        "",
        (
            Reason(
                "JobRefused", _JOB,
                "The API server refused the Job: by a quota, a security policy, or the operator's role. The "
                "operator gives up as late as with a pod that cannot start (`operator.podStartDeadline`).",
                "Do what the message says: raise the ResourceQuota, correct `runner` of the policy, or "
                "install the chart with `rbac.create`.",
            ),
            Reason(
                "JobNotCreated", (Where.RUN, Where.REQUEST, Where.TARGET),
                "The API server could not create the Job, for example because an admission webhook does not "
                "answer. The operator asks again until `status.deadline`; then the run or request fails with "
                "this reason.",
                "Do what the message says: mend the webhook that it names.",
            ),
            Reason(
                "DefinitionsOutdated", (Where.RUN,),
                "The CustomResourceDefinitions are of an earlier release than the operator: the API server "
                "drops what the run lives by, so no Job is created.",
                "Apply the definitions of this release. If several releases of the chart share the cluster, "
                "upgrade first the one with `crds.enabled`.",
            ),
            Reason(
                "JobNameTaken", _JOB,
                "Holdfast cannot create its Job: a Job of this name exists already and belongs to something"
                " else.",
                "Delete the Job that the message names.",
            ),
            Reason(
                "NamespaceTerminating", _JOB,
                "The namespace is being deleted, so Kubernetes creates no Job in it.", "",
            ),
        ),
    ),
    Group(
        "A pod cannot start",
        "These reasons come from Kubernetes. While the pod waits, `status.reason` shows the reason. Once "
        "`operator.podStartDeadline` of the chart has passed, it becomes the reason of the failure. "
        "Kubernetes has more such reasons; Holdfast repeats them unchanged, with Kubernetes' message.",
        (
            Reason(
                "Unschedulable", _WAITING,
                "No node can take the pod.",
                "Read the message: resources, node selector, tolerations (`runner` of the policy), or a "
                "volume that is bound to another node.",
            ),
            Reason(
                "ImagePullBackOff", _WAITING,
                "The node cannot pull the image, and waits before its next attempt.",
                "Correct `image.prefix` and `image.tag` of the chart, push the image, or name a Secret in "
                "`runner.imagePullSecrets` of the policy.",
                by_kubernetes=True,
            ),
            Reason(
                "ErrImagePull", _WAITING,
                "The node cannot pull the image.", "As for `ImagePullBackOff`.",
                by_kubernetes=True,
            ),
            Reason(
                "InvalidImageName", _WAITING,
                "The name of the image is not valid.", "Correct `image.prefix` and `image.tag` of the chart.",
                by_kubernetes=True,
            ),
            Reason(
                "ErrImageNeverPull", _WAITING,
                "The node does not have the image, and `image.pullPolicy` is `Never`.",
                "Load the image to the node, or set `image.pullPolicy: IfNotPresent`.",
                by_kubernetes=True,
            ),
            Reason(
                "CreateContainerConfigError", _WAITING,
                "The container needs a Secret or a key that is missing, or a setting that the node does not "
                "allow.",
                "Read the message and create what it names.",
                by_kubernetes=True,
            ),
            Reason(
                "CreateContainerError", _WAITING,
                "The node cannot make the container.",
                "Read the message; it comes from the container runtime.",
                by_kubernetes=True,
            ),
            Reason(
                "RunContainerError", _WAITING,
                "The node cannot start the container.",
                "Read the message; it comes from the container runtime.",
                by_kubernetes=True,
            ),
            Reason(
                "FailedMount", _WAITING,
                "A Secret or a volume of the pod cannot be mounted. Usually a Secret that the policy names "
                "is missing.",
                "Create the Secret or the key that the message names, or repair the claim.",
                by_kubernetes=True,
            ),
            Reason(
                "SecretNotFound", (*_WAITING, Where.REACHABLE),
                "The namespace has no Secret of the name that the field in the message holds. A Job waits for"
                " the Secret of its target, and fails without the Secret of a required destination.",
                "Create the Secret, or correct the field.",
            ),
            Reason(
                "ConfigMapNotFound", (*_WAITING, Where.REACHABLE),
                "The namespace has no ConfigMap of the name that `caConfigMap` holds.",
                "Create the ConfigMap, or correct the field.",
            ),
            Reason(
                "ConfigMapKeyNotFound", _WAITING,
                "A ConfigMap lacks the key `ca.crt`.", "Add the key.",
            ),
            Reason(
                "SecretKeyNotFound", (*_WAITING, Where.REACHABLE),
                "A Secret lacks a key.",
                "Add the key that the message names, or name another key or Secret in the field.",
            ),
            Reason(
                "ServiceAccountNotFound", _WAITING,
                "The namespace has no ServiceAccount of the name in `runner.serviceAccountName`.",
                "Create the ServiceAccount, or correct the field.",
            ),
            Reason(
                "FailedAttachVolume", _WAITING,
                "A volume cannot be attached to the node, usually because another node holds it.",
                "Let the pod of the other node end, or use a volume that several nodes can mount.",
                by_kubernetes=True,
            ),
            Reason(
                "FailedCreate", _WAITING,
                "Kubernetes cannot make the Job's pod: a quota, a security policy, or a service account "
                "that is missing.",
                "Create the service account (`runner.serviceAccountName`), raise the quota, or do what the "
                "message says.",
                by_kubernetes=True,
            ),
            Reason(
                "FailedCreatePodSandBox", _WAITING,
                "The node cannot make the pod's sandbox. Usually the node's network plugin is the cause.",
                "Look at the node and its network plugin.",
                by_kubernetes=True,
            ),
            Reason(
                "Warning", _WAITING,
                "A warning event of Kubernetes about the pod or the Job names no reason.",
                "Read the message.",
            ),
        ),
    ),
    Group(
        "A pod or a Job ends without a Result",
        "",
        (
            Reason(
                "OOMKilled", _JOB,
                "The pod used more memory than its limit.",
                "Raise `runner.resources.limits.memory` of the policy.",
            ),
            Reason(
                "DeadlineExceeded", (Where.RUN, Where.REQUEST, Where.TARGET, Where.ANY_JOB),
                "The run, the restore or the Job took longer than `activeDeadline` of the policy.",
                "Raise `activeDeadline`. Or find out what is slow: create a new run and watch "
                "`status.targets[].progress` while it goes on.",
            ),
            Reason(
                "Evicted", _JOB,
                "The node ran out of memory or disk, so it ended the pod.",
                "Raise the pod's requests to what it needs (`runner.resources.requests`), or give it a "
                "scratch volume of its own (`runner.scratch`).",
                by_kubernetes=True,
            ),
            Reason(
                "PodKilled", _JOB,
                "A signal killed the pod; the message names it. The node or a person sent it.",
                "Nothing, when a retry succeeds. Otherwise look at the node's log.",
            ),
            Reason(
                "PodLost", (*_JOB, Where.RUN_EVENT),
                "The pod failed and its container left no status, usually because the node was lost. Or a "
                "pod was deleted and did not end: a deletion of data goes on without this pod.",
                "Look at the node. What a lost pod wrote after a deletion of data stays in the destination.",
            ),
            Reason(
                "Terminated", _JOB,
                "Something ended the pod before its work was done: a drained node, or a deleted pod.",
                "Nothing, when a retry succeeds.",
            ),
            Reason(
                "JobDeleted", (Where.TARGET, Where.RUN, Where.REQUEST),
                "Somebody deleted the Job of a target.", "Create a new run or request.",
            ),
            Reason(
                "JobFailed", _JOB,
                "The Job failed, and Kubernetes gave no reason.", "Look at the Job and at its pods' logs.",
            ),
            Reason(
                "BackoffLimitExceeded", _JOB,
                "All attempts failed, and no pod is left that says why.",
                "Look for the pods' logs where the cluster keeps them, and create a new run or request.",
                by_kubernetes=True,
            ),
            Reason(
                "PodFailurePolicy", _JOB,
                "An attempt failed in a way that a retry does not mend, and its pod is gone.",
                "As for `BackoffLimitExceeded`.",
                by_kubernetes=True,
            ),
            Reason(
                "RunnerFailed", _JOB,
                "The container ended without a Result, and with an exit code that Holdfast's runner never "
                "returns.",
                "Read `logTail`. When the image is right, report it as a defect.",
            ),
            Reason(
                "ResultMissing", (*_JOB, Where.TARGET),
                "The Job is complete, but no pod with its Result is left: somebody deleted the pod.",
                "Create a new run or request.",
            ),
            Reason(
                "ResultUnexpected", _JOB,
                "The Job ended with the Result of another kind of Job.",
                "Use the same version of the operator and of the images.",
            ),
            Reason(
                "ResultTooLarge", _JOB,
                "The Job's Result does not fit into the 4096 bytes of a termination message.",
                "Name fewer targets or destinations in one policy, and report it as a defect.",
            ),
        ),
    ),
    Group(
        "The operator and a runner do not agree",
        "",
        (
            Reason(
                "TaskInvalid", _JOB,
                "The runner does not understand its Task.",
                "Use the same version of the operator and of the images.",
            ),
            Reason(
                "EngineUnknown", (Where.BACKUP, Where.RESTORE),
                "The image does not know the engine.",
                "Use the same version of the operator and of the images.",
            ),
            Reason(
                "NothingToCommit", (Where.COMMIT,),
                "The Commit Job was given no target.", "Report it as a defect.",
            ),
            Reason(
                "Defect", _JOB,
                "The runner met an error that it does not expect.",
                "Report it with the `logTail` of the failure. The Job makes another attempt.",
            ),
        ),
    ),
)  # fmt: skip
