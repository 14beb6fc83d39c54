"""Two teams on one cluster, with the chart's admission policies: all that one tries against the other fails.

Bob edits team b, and has nothing in team a. Mallory has Holdfast's resources of team b and no other right.
"""

import copy
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from tests.apiserver import ApiServer
from tests.chart.conftest import CHART, helm, render
from tests.waiting import wait_until

from holdfast.api.admission import USES, fields_using
from holdfast.api.base import Model, SecretRef
from holdfast.api.meta import Resource

Spec = dict[str, Any]
HOLDFAST = {
    "apiGroups": ["holdfast.dev"],
    "resources": ["backuppolicies", "backupruns", "restorerequests"],
    "verbs": ["get", "list", "create", "update", "patch", "delete"],
}
# What Kubernetes' role edit has of it.
EDIT = [
    HOLDFAST,
    {"apiGroups": [""], "resources": ["secrets", "persistentvolumeclaims"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]},
]
ONE_SECRET = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["token"], "verbs": ["get"]}
CACHE = {"name": "cache", "redis": {"service": {"name": "cache", "port": 6379}}}
BUCKET = {"name": "main", "s3": {"bucket": "backups"}}
HARMLESS: Spec = {"targets": [CACHE], "destinations": [BUCKET]}
EVIL = {"name": "evil.example.com", "port": 80}
TOKEN = {"name": "token"}
HOOK = {"name": "run", "podSelector": {"matchLabels": {"app": "db"}}, "command": ["cat", "/etc/passwd"]}
PAST = {"name": "ours"}
PLURALS = {"BackupPolicy": "backuppolicies", "BackupRun": "backupruns", "RestoreRequest": "restorerequests"}


class Teams:
    """The two namespaces, and requests as one of the users."""

    def __init__(self, api: ApiServer, home: str) -> None:
        self.api, self.home = api, home
        self.a, self.b = api.create_namespace("team-a"), api.create_namespace("team-b")

    def may(self, user: str, namespace: str, rules: list[dict[str, Any]]) -> None:
        """Give a user a Role."""
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self.api.must("POST", f"{rbac}/roles", {"metadata": {"name": user}, "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        binding = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
        self.api.must("POST", f"{rbac}/rolebindings", binding)

    def ask(
        self, user: str, method: str, namespace: str, path: str, body: Any = None, *, dry: bool = True
    ) -> tuple[int, str]:
        """The status and the message of a request of `user` for `path`, such as `backupruns/NAME`."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        where = f"/apis/holdfast.dev/v1alpha1/namespaces/{namespace}/{path}"
        headers = {"Impersonate-User": user, "Impersonate-Group": "system:authenticated"}
        status, answer = self.api.request(method, where + (query if method != "GET" else ""), body, headers)
        return status, answer.get("message", "")

    def create(
        self, user: str, namespace: str, kind: str, spec: Spec, name: str = "new", *, dry: bool = True
    ) -> tuple[int, str]:
        """The status and the message of creating an object."""
        body = {
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.ask(user, "POST", namespace, PLURALS[kind], body, dry=dry)


@pytest.fixture(scope="module")
def teams(apiserver: ApiServer) -> Iterator[Teams]:
    home = apiserver.create_namespace("system")
    where = [f"--namespace={home}", f"--kubeconfig={apiserver.kubeconfig}"]
    try:
        helm("install", "holdfast", CHART, "--take-ownership", *where)
        teams = Teams(apiserver, home)
        teams.may("bob", teams.b, EDIT)
        teams.may("mallory", teams.b, [HOLDFAST])
        teams.may("carol", teams.b, [HOLDFAST, ONE_SECRET])
        secret = {**HARMLESS, "destinations": [changed(BUCKET, "s3.credentialsSecret", TOKEN)]}

        def in_force() -> bool:
            wrong = teams.create("carol", teams.b, "BackupPolicy", secret)[0]
            from_path = {"source": {"location": {"s3": {"bucket": "abc"}, "path": "a/b/c"}}}
            wrong_too = teams.create("mallory", teams.b, "RestoreRequest", from_path)[0]
            right = teams.create("bob", teams.b, "BackupPolicy", secret)[0]
            return (wrong, wrong_too, right) == (403, 403, 201)

        wait_until(in_force, "the roles and the admission policies to be in force")
        # The operator of the release installs nothing here: only what is admitted matters.
        teams.create("bob", teams.b, "BackupPolicy", secret, "ours", dry=False)
        source = {"source": {"policyRef": PAST}, "targets": [target("chroma", host=EVIL)]}
        teams.create("bob", teams.b, "RestoreRequest", source, "ours", dry=False)
        teams.create("bob", teams.b, "BackupRun", {"policyRef": PAST}, "ours", dry=False)
        yield teams
    finally:
        helm("uninstall", "holdfast", "--ignore-not-found", *where)


def changed(part: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `part` with `value` at `path`."""
    result = copy.deepcopy(part)
    *parents, last = path.split(".")
    at = result
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = value
    return result


def target(engine: str, **section: Any) -> dict[str, Any]:
    return {"name": "kb", engine: section}


def policy(path: str, value: Any) -> tuple[str, Spec]:
    return "BackupPolicy", changed(HARMLESS, path, value)


def backup_of(engine: str, **section: Any) -> tuple[str, Spec]:
    return policy("targets", [CACHE, target(engine, **section)])


def stored_in(path: str, value: Any) -> tuple[str, Spec]:
    return policy("destinations", [changed(BUCKET, path, value)])


def restore(source: dict[str, Any], *targets: dict[str, Any]) -> tuple[str, Spec]:
    return "RestoreRequest", {"source": source} | ({"targets": list(targets)} if targets else {})


SECRETS = "needs the right to get secrets in namespace"
EXEC = "needs the right to create pods/exec in namespace"
ACCOUNTS = "needs the right to impersonate serviceaccounts in namespace"
CLAIMS = "needs the right to get persistentvolumeclaims in namespace"
UNKNOWN = "unknown field"
PATTERN = "should match"
DOTS = "must not contain . or .."
S3_RUN = {"s3": {"bucket": "backups", "endpoint": "http://evil.example.com"}, "path": "a/b/c"}
VOLUME_RUN = {"volume": {"claimName": "database"}, "path": "a/b/c"}

# What Holdfast's resources alone do not give: the attempt, the field that the refusal names, the right.
MALLORY: dict[str, tuple[tuple[str, Spec], str, str]] = {
    "an account's token, to a host": (
        backup_of("chroma", host=EVIL, credentialsSecret=TOKEN),
        "spec.targets[kb].chroma.credentialsSecret",
        SECRETS,
    ),
    "two keys of another's Secret, to a host": (
        backup_of(
            "postgres", host=EVIL, credentialsSecret=TOKEN | {"usernameKey": "a", "passwordKey": "tls.key"}
        ),
        "spec.targets[kb].postgres.credentialsSecret",
        SECRETS,
    ),
    "Redis' password, to a host": (
        backup_of("redis", host=EVIL, credentialsSecret=TOKEN),
        "spec.targets[kb].redis.credentialsSecret",
        SECRETS,
    ),
    "a Secret as a CA": (
        backup_of("redis", host=EVIL, tls={"caSecret": TOKEN}),
        "spec.targets[kb].redis.tls.caSecret",
        SECRETS,
    ),
    "a bucket's keys, to an endpoint": (
        stored_in(
            "s3",
            {"bucket": "abc", "endpoint": "http://evil.example.com", "credentialsSecret": TOKEN},
        ),
        "spec.destinations[main].s3.credentialsSecret",
        SECRETS,
    ),
    "an identity": (
        policy("encryption", {"age": {"recipients": ["age1" + "q" * 58], "identitySecret": TOKEN}}),
        "spec.encryption.age.identitySecret",
        SECRETS,
    ),
    "a registry's password": (
        policy("runner", {"imagePullSecrets": [TOKEN]}),
        "spec.runner.imagePullSecrets",
        SECRETS,
    ),
    "a Secret as an address": (
        policy("notifications", [{"name": "n", "webhook": {"urlSecret": TOKEN}}]),
        "spec.notifications[n].webhook.urlSecret",
        SECRETS,
    ),
    "a Secret as a signing key": (
        policy("notifications", [{"name": "n", "webhook": {"urlSecret": TOKEN, "hmacSecret": TOKEN}}]),
        "spec.notifications[n].webhook.urlSecret and 1 more",
        SECRETS,
    ),
    "an account, for its cloud identity": (
        policy("runner", {"serviceAccountName": "admin"}),
        "spec.runner.serviceAccountName",
        ACCOUNTS,
    ),
    "a database's claim, to write on": (
        policy("destinations", [{"name": "main", "volume": {"claimName": "database"}}]),
        "spec.destinations[main].volume.claimName",
        CLAIMS,
    ),
    "a claim's files, to a bucket": (
        backup_of("files", claimName="database"),
        "spec.targets[kb].files.claimName",
        CLAIMS,
    ),
    "a command before a run": (policy("hooks", {"before": [HOOK]}), "spec.hooks.before", EXEC),
    "a command after a run": (policy("hooks", {"after": [HOOK]}), "spec.hooks.after", EXEC),
    "an entry at a foreign store, which names Secrets": (
        restore({"location": S3_RUN}),
        "spec.source.location",
        SECRETS,
    ),
    "an identity for a foreign backup": (
        restore({"location": S3_RUN | {"identitySecret": TOKEN}}),
        "spec.source.location and 1 more",
        SECRETS,
    ),
    "an entry on a claim, which names Secrets": (
        restore({"location": VOLUME_RUN}),
        "spec.source.location",
        SECRETS,
    ),
    "a policy's backup and password, to a host": (
        restore({"policyRef": PAST}, target("chroma", host=EVIL)),
        "spec.targets[kb].chroma.host",
        SECRETS,
    ),
    "a run's backup, to a Service": (
        restore({"runRef": PAST}, target("postgres", service=EVIL)),
        "spec.targets[kb].postgres.service",
        SECRETS,
    ),
    "another role's password, in a restore": (
        restore({"runRef": PAST}, target("redis", credentialsSecret=TOKEN)),
        "spec.targets[kb].redis.credentialsSecret",
        SECRETS,
    ),
    "a claim as a server's data folder": (
        restore({"runRef": PAST}, target("postgres", volumeClaim={"claimName": "database"})),
        "spec.targets[kb].postgres.volumeClaim.claimName",
        CLAIMS,
    ),
}


def refusal(teams: Teams, user: str, kind: str, spec: Spec) -> str:
    """What the admission policy says."""
    status, message = teams.create(user, teams.b, kind, spec)
    assert status == 403, message
    assert "ValidatingAdmissionPolicy 'holdfast-" in message
    return message


@pytest.mark.parametrize("attempt", MALLORY)
def test_holdfasts_resources_alone_give_no_other_right(teams: Teams, attempt: str) -> None:
    (kind, spec), field, right = MALLORY[attempt]
    message = refusal(teams, "mallory", kind, spec)
    assert f"{field}: whoever sets this in a {kind} {right} {teams.b}" in message
    assert "mallory does not have it; a Role with the verb" in message
    # The right is what is missing: who has it may.
    assert teams.create("bob", teams.b, kind, spec) == (201, "")


UPDATES: dict[str, tuple[str, Spec]] = {
    "another host for the policy's Secret": (
        "backuppolicies/ours",
        {"targets": [target("redis", host=EVIL)]},
    ),
    "a Secret": ("backuppolicies/ours", {"runner": {"imagePullSecrets": [TOKEN]}}),
    "a hook": ("backuppolicies/ours", {"hooks": {"before": [HOOK]}}),
}


@pytest.mark.parametrize("attempt", UPDATES)
def test_a_policy_of_others_cannot_be_bent(teams: Teams, attempt: str) -> None:
    path, spec = UPDATES[attempt]
    status, message = teams.ask("mallory", "PATCH", teams.b, path, {"spec": spec})
    assert (status, "ValidatingAdmissionPolicy" in message) == (403, True), message


MAY: dict[str, tuple[str, str, Any]] = {
    "a policy that uses nothing": ("POST", "backuppolicies", HARMLESS),
    "a backup now": ("POST", "backupruns", {"policyRef": PAST}),
    "a restore to where it came from": ("POST", "restorerequests", {"source": {"runRef": PAST}}),
    "a label": ("PATCH", "backuppolicies/ours", {"metadata": {"labels": {"team": "b"}}}),
    "the end of a restore of others": ("PATCH", "restorerequests/ours", {"spec": {"cancel": True}}),
    "a policy's deletion": ("DELETE", "backuppolicies/ours", None),
}


@pytest.mark.parametrize("what", MAY)
def test_what_lends_nothing_is_admitted(teams: Teams, what: str) -> None:
    method, path, body = MAY[what]
    if method == "POST":
        kind = next(kind for kind, plural in PLURALS.items() if plural == path)
        assert teams.create("mallory", teams.b, kind, body) == (201, "")
    else:
        assert teams.ask("mallory", method, teams.b, path, body)[0] == 200


def test_a_right_by_names_is_not_enough(teams: Teams) -> None:
    kind, spec = backup_of("redis", host=EVIL, credentialsSecret=TOKEN)
    message = refusal(teams, "carol", kind, spec)
    assert "a Role with the verb get on secrets, without resourceNames, grants it" in message


# What the editor of one namespace tries against another: requests there, and words that would lead there.
THERE = [
    ("GET", "backuppolicies"),
    ("GET", "backupruns"),
    ("GET", "restorerequests"),
    ("POST", "backuppolicies"),
    ("POST", "backupruns"),
    ("POST", "restorerequests"),
    ("PATCH", "backuppolicies/theirs"),
    ("DELETE", "backupruns/theirs"),
]
WORDS: dict[str, tuple[tuple[str, Spec], str]] = {
    "their Secret": (backup_of("redis", host=EVIL, credentialsSecret=TOKEN | {"namespace": "a"}), UNKNOWN),
    "their Secret by a path": (backup_of("redis", host=EVIL, credentialsSecret={"name": "a/token"}), PATTERN),
    "their Service": (backup_of("redis", service={"name": "db", "port": 1, "namespace": "a"}), UNKNOWN),
    "their bucket's Secret": (stored_in("s3.credentialsSecret", TOKEN | {"namespace": "a"}), UNKNOWN),
    "their claim": (
        policy("destinations", [{"name": "main", "volume": {"claimName": "c", "namespace": "a"}}]),
        UNKNOWN,
    ),
    "a folder above the volume's": (
        policy("destinations", [{"name": "main", "volume": {"claimName": "c", "path": "../a"}}]),
        DOTS,
    ),
    "a folder above the prefix": (stored_in("s3.prefix", "b/../a"), DOTS),
    "their account": (policy("runner", {"serviceAccountName": "a:admin"}), PATTERN),
    "their pods": (policy("hooks", {"before": [HOOK | {"namespace": "a"}]}), UNKNOWN),
    "a node's path": (policy("runner", {"volumes": [{"hostPath": {"path": "/"}}]}), UNKNOWN),
    "a privileged pod": (policy("runner", {"securityContext": {"privileged": True}}), UNKNOWN),
    "an image of their own": (policy("runner", {"image": "evil"}), UNKNOWN),
    "their policy's run": (("BackupRun", {"policyRef": PAST | {"namespace": "a"}}), UNKNOWN),
    "their run": (restore({"runRef": PAST | {"namespace": "a"}}), UNKNOWN),
    "their policy's backup": (restore({"policyRef": {"name": "a/theirs"}}), PATTERN),
    "their backup by dots": (restore({"location": S3_RUN | {"path": "b/../a"}}), DOTS),
    "their identity": (restore({"location": S3_RUN | {"identitySecret": {"name": "a/i"}}}), PATTERN),
}


@pytest.mark.parametrize(("method", "path"), THERE)
def test_nothing_is_to_be_had_in_the_other_namespace(teams: Teams, method: str, path: str) -> None:
    kind = next(kind for kind, plural in PLURALS.items() if path.startswith(plural))
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": {}}
    assert teams.ask("bob", method, teams.a, path, None if method == "GET" else body)[0] == 403


@pytest.mark.parametrize("attempt", WORDS)
def test_no_word_leads_to_the_other_namespace(teams: Teams, attempt: str) -> None:
    (kind, spec), complaint = WORDS[attempt]
    status, message = teams.create("bob", teams.b, kind, spec)
    assert status in (400, 422), message
    assert complaint in message


@pytest.mark.parametrize("path", ["backuppolicies/ours", "backupruns/ours", "restorerequests/ours"])
def test_nobody_but_the_operator_writes_what_a_status_records(teams: Teams, path: str) -> None:
    # The places and Secrets in a run's status are those that its later Jobs use.
    status, _ = teams.ask("bob", "PATCH", teams.b, f"{path}/status", {"status": {"phase": "Succeeded"}})
    assert status == 403


def largest() -> Spec:
    """A policy with as many uses of each right as the schema takes, and about a megabyte of commands."""
    tls = {"tls": {"caSecret": {"name": "s" * 253}}}
    section = {"service": {"name": "s" * 253, "port": 1}, "credentialsSecret": {"name": "s" * 253}} | tls
    store = {"bucket": "abc", "credentialsSecret": {"name": "s" * 253}, "caSecret": {"name": "s" * 253}}
    hook = HOOK | {"command": ["c" * 512] * 50}
    volumes = [{"name": f"v{n}", "volume": {"claimName": "c" * 253}} for n in range(2)]
    hooks = [hook | {"name": f"{n:02}" + "h" * 38} for n in range(20)]
    webhook = {"urlSecret": {"name": "s" * 253}, "hmacSecret": {"name": "s" * 253}}
    return {
        "targets": [
            {"name": f"{n:02}" + "t" * 38, ("postgres", "chroma", "redis")[n % 3]: section} for n in range(19)
        ]
        + [target("files", claimName="c" * 253)],
        "destinations": [
            *({"name": f"{n}" + "d" * 39, "s3": store | {"prefix": f"p{n}"}} for n in range(3)),
            *volumes,
        ],
        "encryption": {"age": {"recipients": ["age1" + "q" * 58], "identitySecret": {"name": "s" * 253}}},
        "hooks": {"before": hooks, "after": hooks},
        "notifications": [{"name": f"{n:02}" + "n" * 38, "webhook": webhook} for n in range(20)],
        "runner": {
            "serviceAccountName": "s" * 253,
            "imagePullSecrets": [{"name": f"{n}" + "s" * 252} for n in range(10)],
        },
    }


def test_the_largest_policy_costs_no_more_than_is_granted(teams: Teams) -> None:
    spec = largest()
    status, message = teams.create("bob", teams.b, "BackupPolicy", spec, "large", dry=False)
    assert status == 201, message[-3000:]
    # Two large specs are compared, and equal but for their end.
    spec["runner"]["serviceAccountName"] = "t" * 253
    assert teams.ask("bob", "PATCH", teams.b, "backuppolicies/large", {"spec": spec}) == (200, "")
    message = refusal(teams, "mallory", "BackupPolicy", spec)
    assert f"{SECRETS} {teams.b}" in message
    assert "cost" not in message


def test_the_operator_itself_is_not_asked(teams: Teams) -> None:
    operator = f"system:serviceaccount:{teams.home}:holdfast"
    change = {"spec": {"runner": {"imagePullSecrets": [TOKEN]}}}
    assert teams.ask(operator, "PATCH", teams.b, "backuppolicies/ours", change) == (200, "")


def test_hooks_are_refused_where_the_operator_runs_none() -> None:
    (backups, _) = (each for each in render("operator.hooks=false") if each["kind"].endswith("Policy"))
    first = backups["spec"]["validations"][0]
    assert first["expression"] == "variables.exec.size() == 0"
    assert "operator.hooks: false" in first["messageExpression"]


@pytest.mark.parametrize("values", [("--kube-version=1.29.0",), ("--set=admission.enabled=false",)])
def test_the_policies_can_be_left_out_and_are_on_clusters_without_them(values: tuple[str, ...]) -> None:
    flags = ["--namespace=system", "--kube-version=1.34.0", *values]
    rendered = helm("template", "holdfast", CHART, *flags).stdout
    assert "ValidatingAdmissionPolicy" not in rendered


def secret_fields(model: type[Model], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The fields of a model whose type names a Secret, without the marks of lists."""
    for name, field in model.model_fields.items():
        for kind in models_of(field.annotation):
            at = (*path, field.alias or name)
            if issubclass(kind, SecretRef):
                yield at
            else:
                yield from secret_fields(kind, at)


def models_of(annotation: Any) -> list[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_of(part)]


@pytest.mark.parametrize("kind", USES, ids=lambda kind: kind.singular)
def test_every_field_that_names_a_secret_is_asked_for(kind: type[Resource]) -> None:
    spec = kind.model_fields["spec"].annotation
    assert isinstance(spec, type)
    asked = {tuple(step for step in steps if step != "[]") for steps in fields_using(kind, "secrets")}
    named = set(secret_fields(spec))
    assert len(named) > 5
    assert named <= asked
