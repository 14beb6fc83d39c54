"""The contract of a RestoreRequest, as a real API server keeps it."""

from typing import Any

import pytest
from tests.api.objects import ABSENT, EXAMPLES, Case, changed, collection, judge, try_create
from tests.apiserver import ApiServer
from tests.waiting import wait_until

SOURCE = "exactly one of policyRef, runRef, location must be set"
ENGINE = "exactly one of postgres, chroma, redis must be set"
PLACE = "exactly one of s3, gcs, volume must be set"
DOTS = "path must not contain . or .. as a part of the path"
CONFIRM = "confirm must be set with mode InPlace"
AT = "2026-02-28T01:14:59.25Z"
HOST = {"name": "db.example.org", "port": 1}
RUN = {"runRef": {"name": "a"}}
POLICY = {"policyRef": {"name": "a"}}
LOCATION = EXAMPLES["restore-volume"]["spec"]["source"]
LSN = {"name": "a", "postgres": {"recoveryTarget": {"lsn": "0/3000060"}}}
ONE_CA = "at most one of caSecret, caConfigMap may be set"
THREE = "at most one of service, host, volumeClaim may be set"
ADDRESSES = "at most one of service, host may be set"

CASES = [
    Case("restore-run", "metadata/name", "a" * 63),
    Case("restore-run", "metadata/name", "a" * 64, "metadata.name must have at most 63 characters"),
    Case("restore-run", "spec", {"source": RUN}),
    Case("restore-run", "spec", {"source": POLICY}),
    Case("restore-run", "spec", {"source": LOCATION}),
    Case("restore-run", "spec", {"source": {}}, SOURCE),
    Case("restore-run", "spec", {"source": RUN | POLICY}, SOURCE),
    Case("restore-run", "spec", {"source": RUN | LOCATION}, SOURCE),
    Case("restore-run", "spec", {"source": RUN | POLICY | LOCATION}, SOURCE),
    Case("restore-run", "spec", {}, "Required value"),
    Case("restore-policy", "spec/source/policyRef/select", "Latest"),
    Case("restore-policy", "spec/source/policyRef/select", "Oldest", "Unsupported value"),
    Case("restore-policy", "spec/source/policyRef/notAfter", "2026-02-28", "Invalid value"),
    # A point in time.
    Case("restore-run", "spec", {"source": POLICY, "pointInTime": AT}),
    Case("restore-run", "spec", {"source": LOCATION, "pointInTime": AT}),
    Case("restore-run", "spec", {"source": POLICY, "pointInTime": "2026-02-28T08:14:59+07:00"}),
    Case("restore-run", "spec", {"source": RUN, "pointInTime": AT}, "pointInTime needs source.policyRef"),
    Case("restore-run", "spec", {"source": POLICY, "pointInTime": "now"}, "Invalid value"),
    Case("restore-policy", "spec/pointInTime", AT, "pointInTime and source.policyRef.notAfter exclude"),
    # The mode, and its guard.
    Case("restore-run", "spec/mode", "Sandbox"),
    Case("restore-run", "spec/mode", "Overwrite", "Unsupported value"),
    Case("restore-run", "spec/mode", "InPlace", CONFIRM),
    Case("restore-run", "spec/confirm", "support-desk", CONFIRM),
    Case("restore-run", "spec", {"source": RUN, "mode": "InPlace", "confirm": "any"}),
    Case("restore-run", "spec", {"source": LOCATION, "mode": "InPlace", "confirm": "any"}),
    Case("restore-policy", "spec/confirm", ABSENT, CONFIRM),
    Case("restore-policy", "spec/confirm", "support", "confirm must equal the name of the policy"),
    Case("restore-policy", "spec/mode", "New", CONFIRM),
    Case("restore-policy", "spec/safetyBackup", True),
    Case("restore-policy", "spec/safetyBackup", ABSENT),
    Case("restore-run", "spec/safetyBackup", True, "safetyBackup needs mode: InPlace"),
    Case("restore-location", "spec/safetyBackup", False, "safetyBackup needs mode: InPlace"),
    # What a drill leaves.
    Case("restore-location", "spec/sandbox", ABSENT),
    Case("restore-location", "spec/sandbox", {}),
    Case("restore-location", "spec/sandbox/keepFor", ABSENT),
    Case("restore-location", "spec/sandbox/expose", False, "keepFor needs expose: true"),
    Case("restore-location", "spec/sandbox/keepFor", "0m", "keepFor must be longer than zero"),
    Case("restore-run", "spec/sandbox", {}, "sandbox needs mode: Sandbox"),
    Case("restore-policy", "spec/sandbox", {}, "sandbox needs mode: Sandbox"),
    # What is decided after the restore, and risks.
    Case("restore-run", "spec/promote", "Swap", "promote can only be added after the request was created"),
    Case("restore-run", "spec/discard", True, "discard can only become true after the request was created"),
    Case("restore-run", "spec/onObjectError", "Skip", "Unsupported value"),
    Case("restore-run", "spec/onObjectError", ABSENT),
    Case("restore-run", "spec/acceptedRisks", []),
    Case("restore-run", "spec/acceptedRisks", ["collationVersion"], "should match"),
    Case("restore-run", "spec/acceptedRisks", ["Interruption"] * 2, "Duplicate value"),
    # A bucket or a volume, and the path in it.
    Case("restore-location", "spec/source/location/path", "../../etc", DOTS),
    Case("restore-location", "spec/source/location/path", "/a/b", "should match"),
    Case("restore-location", "spec/source/location/s3/prefix", "a/../b", f"prefix {DOTS[5:]}"),
    Case("restore-location", "spec/source/location/s3/prefix", ABSENT),
    Case("restore-volume", "spec/source/location/volume/path", "..", DOTS),
    Case("restore-volume", "spec/source/location/volume", ABSENT, PLACE),
    Case("restore-location", "spec/source/location/volume", {"claimName": "a"}, PLACE),
    # Targets.
    Case("restore-run", "spec/targets", []),
    Case("restore-run", "spec/targets", [{"name": f"t{i}", "redis": {}} for i in range(20)]),
    Case("restore-run", "spec/targets", [{"name": f"t{i}", "redis": {}} for i in range(21)], "Too many"),
    Case("restore-run", "spec/targets", [{"name": "a", "redis": {}}] * 2, "Duplicate value"),
    Case("restore-run", "spec/targets", [{"name": "a"}], ENGINE),
    Case("restore-run", "spec/targets", [{"name": "a", "redis": {}, "chroma": {}}], ENGINE),
    Case("restore-run", "spec/targets/tickets/postgres", {}),
    Case("restore-run", "spec/targets/tickets/postgres/service/port", ABSENT),
    Case("restore-run", "spec/targets/articles/chroma/service/port", ABSENT),
    Case("restore-run", "spec/targets/queue/redis/service/port", ABSENT),
    Case("restore-run", "spec/targets/tickets/postgres/host", HOST, THREE),
    Case("restore-run", "spec/targets/billing/postgres/host", HOST, THREE),
    Case("restore-run", "spec/targets/articles/chroma/host", HOST, ADDRESSES),
    Case("restore-run", "spec/targets/queue/redis/host", HOST, ADDRESSES),
    Case("restore-run", "spec/targets/orders/mysql/host", HOST, ADDRESSES),
    Case("restore-run", "spec/targets/pages/memcached/host", HOST, ADDRESSES),
    Case("restore-run", "spec/targets/orders/mysql/service/port", ABSENT),
    Case("restore-run", "spec/targets/pages/memcached/service/port", ABSENT),
    Case("restore-run", "spec/targets/orders/mysql/rename", {"a" * 64: "b"}),
    Case("restore-run", "spec/targets/orders/mysql/rename", {"a" * 65: "b"}, "keys must have 1 to 64"),
    Case("restore-run", "spec/targets/tickets/postgres/tls/caConfigMap", {"name": "a"}, ONE_CA),
    Case("restore-run", "spec/targets/queue/redis/tls/caConfigMap", {"name": "a"}, ONE_CA),
    Case("restore-run", "spec/targets/tickets/postgres/include", ["kb.public.*"]),
    Case("restore-run", "spec/targets/tickets/postgres/include", ["public.messages"], "should match"),
    Case("restore-run", "spec/targets/tickets/postgres/ownership", ABSENT),
    Case(
        "restore-run", "spec/targets/tickets/postgres/placement", "Replace", "placement needs mode: InPlace"
    ),
    Case("restore-policy", "spec/targets/tickets/postgres/placement", "Replace"),
    Case("restore-policy", "spec/targets/tickets/postgres/placement", "Next", "Unsupported value"),
    Case("restore-run", "spec/targets/billing/postgres/runAsUser", ABSENT),
    Case("restore-run", "spec/targets/tickets/postgres/runAsUser", 999, "runAsUser needs volumeClaim"),
    Case("restore-run", "spec", {"source": POLICY, "targets": [LSN]}),
    Case("restore-run", "spec", {"source": LOCATION, "targets": [LSN]}),
    Case("restore-run", "spec", {"source": RUN, "targets": [LSN]}, "recoveryTarget excludes"),
    Case("restore-run", "spec", {"source": POLICY, "targets": [LSN], "pointInTime": AT}, "recoveryTarget ex"),
    Case(
        "restore-policy", "spec/targets/tickets/postgres/recoveryTarget", {"lsn": "0/1"}, "recoveryTarget ex"
    ),
    Case("restore-lsn", "spec/targets/tickets/postgres/recoveryTarget", {}, "exactly one of name, lsn"),
    Case("restore-lsn", "spec/targets/tickets/postgres/recoveryTarget/name", "a", "exactly one of name, lsn"),
    Case("restore-lsn", "spec/targets/tickets/postgres/recoveryTarget/lsn", "3000060", "should match"),
    Case("restore-lsn", "spec/source/location/s3/caSecret", {"name": "a"}, ONE_CA),
    Case("restore-gcs", "spec/targets/attachments/files/claimName", ABSENT, "files.claimName must be set"),
    Case("restore-run", "spec/targets/attachments/files/claimName", ABSENT),
    Case("restore-gcs", "spec/targets/settings/objects", {}, "objects.serviceAccountName must be set"),
    Case("restore-run", "spec/targets/settings/objects", {}),
    Case("restore-gcs", "spec/source/location/gcs/bucket", ABSENT, "Required value"),
    Case("restore-gcs", "spec/source/location/gcs", ABSENT, PLACE),
    Case("restore-azure", "spec/source/location/azure/account", ABSENT, "Required value"),
    Case("restore-azure", "spec/source/location/volume", {"claimName": "a"}, PLACE),
    Case("restore-run", "spec/targets/tickets/postgres/rename", {"a" * 63: "b"}),
    Case("restore-run", "spec/targets/tickets/postgres/rename", {"a" * 64: "b"}, "keys must have 1 to 63"),
    Case("restore-run", "spec/targets/articles/chroma/rename", {"a" * 512: "b"}),
    Case("restore-run", "spec/targets/articles/chroma/rename", {"a" * 513: "b"}, "keys must have 1 to 512"),
    Case("restore-run", "spec/targets/queue/redis/databases", [0, 65535]),
    Case("restore-run", "spec/targets/queue/redis/databases", [-1], "should be greater than or equal to 0"),
    Case("restore-run", "spec/force", True, "unknown field"),
]

UPDATES = [
    ("spec/mode", "Sandbox", "mode is immutable"),
    ("spec/source", POLICY, "source is immutable"),
    ("spec/source/runRef/name", "other", "source is immutable"),
    ("spec/onObjectError", "Fail", "onObjectError is immutable"),
    ("spec/acceptedRisks", ["Interruption"], "acceptedRisks is immutable"),
    ("spec/sandbox", {}, "sandbox is immutable"),
    ("spec/targets", ABSENT, "targets is immutable"),
    ("spec/targets/queue/redis/databases", [1], "targets is immutable"),
    ("spec/cancel", True, None),
    ("metadata/annotations", {"a": "b"}, None),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(apiserver: ApiServer, case: Case) -> None:
    judge(apiserver, case)


def test_defaults(apiserver: ApiServer) -> None:
    status, answer = try_create(apiserver, changed(EXAMPLES["restore-run"], "spec", {"source": POLICY}))
    assert status == 201
    source = {"policyRef": {"name": "a", "select": "Latest"}}
    assert answer["spec"] == {
        "source": source, "mode": "New", "onObjectError": "Fail", "cancel": False, "discard": False,
    }  # fmt: skip


def test_the_port_of_a_server_is_the_engines_own_by_default(apiserver: ApiServer) -> None:
    engines = {"postgres": 5432, "chroma": 8000, "redis": 6379, "mysql": 3306, "memcached": 11211}
    for address in ("service", "host"):
        targets = [{"name": engine, engine: {address: {"name": "new"}}} for engine in engines]
        status, answer = try_create(apiserver, changed(EXAMPLES["restore-run"], "spec/targets", targets))
        assert status == 201, answer
        written = {target["name"]: target[target["name"]] for target in answer["spec"]["targets"]}
        assert {name: section[address]["port"] for name, section in written.items()} == engines


def test_every_engine_of_the_contract_can_be_restored_by_an_empty_section(apiserver: ApiServer) -> None:
    """An empty section means: to where it came from."""
    for engine in ("postgres", "chroma", "redis", "mysql", "memcached", "files", "objects"):
        judge(apiserver, Case("restore-run", "spec/targets", [{"name": "a", engine: {}}]))


@pytest.mark.parametrize(("path", "value", "refusal"), UPDATES)
def test_update(apiserver: ApiServer, path: str, value: object, refusal: str | None) -> None:
    restores = collection("RestoreRequest", apiserver.create_namespace("restore"))
    created = apiserver.must("POST", restores, EXAMPLES["restore-run"])
    address = f"{restores}/{created['metadata']['name']}"
    status, answer = apiserver.request("PUT", address, changed(created, path, value))
    if refusal is None:
        assert status == 200, answer
    else:
        assert status == 422
        assert refusal in answer["message"]


@pytest.mark.parametrize(
    ("example", "path", "value", "refusal"),
    [
        ("restore-policy", "spec/confirm", "other", "confirm is immutable"),
        ("restore-policy", "spec/safetyBackup", True, "safetyBackup is immutable"),
        ("restore-policy", "spec/safetyBackup", ABSENT, "safetyBackup is immutable"),
        ("restore-location", "spec/pointInTime", ABSENT, "pointInTime is immutable"),
        ("restore-location", "spec/pointInTime", AT, None),
        ("restore-volume", "spec/pointInTime", AT, "pointInTime is immutable"),
    ],
)
def test_optional_fields_neither_come_nor_go(
    apiserver: ApiServer, example: str, path: str, value: object, refusal: str | None
) -> None:
    restores = collection("RestoreRequest", apiserver.create_namespace("restore"))
    created = apiserver.must("POST", restores, EXAMPLES[example])
    status, answer = apiserver.request(
        "PUT", f"{restores}/{created['metadata']['name']}", changed(created, path, value)
    )
    assert (status, refusal) == (200, None) or (status == 422 and refusal and refusal in answer["message"])


def test_cancel_is_not_taken_back(apiserver: ApiServer) -> None:
    restores = collection("RestoreRequest", apiserver.create_namespace("restore"))
    created = apiserver.must("POST", restores, changed(EXAMPLES["restore-run"], "spec/cancel", True))
    back = changed(created, "spec/cancel", False)
    status, answer = apiserver.request("PUT", f"{restores}/{created['metadata']['name']}", back)
    assert status == 422
    assert "cancel cannot be taken back" in answer["message"]


def started(server: ApiServer, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The address and the object of a request whose status the operator has written."""
    restores = collection("RestoreRequest", server.create_namespace("restore"))
    created = server.must("POST", restores, body)
    address = f"{restores}/{created['metadata']['name']}"
    created["status"] = {"phase": "Succeeded"}
    return address, server.must("PUT", f"{address}/status", created)


def test_promote_and_discard_are_for_a_request_that_the_operator_knows(apiserver: ApiServer) -> None:
    address, request = started(apiserver, EXAMPLES["restore-run"])
    wrong = changed(request, "spec/promote", "Both")
    assert "Unsupported value" in apiserver.request("PUT", address, wrong)[1]["message"]
    request = apiserver.must("PUT", address, changed(request, "spec/promote", "Swap"))
    for value in ("Merge", ABSENT):
        status, answer = apiserver.request("PUT", address, changed(request, "spec/promote", value))
        assert status == 422
        assert "promote cannot be changed or taken back" in answer["message"]
    request = apiserver.must("PUT", address, changed(request, "spec/discard", True))
    for value in (False, ABSENT):
        status, answer = apiserver.request("PUT", address, changed(request, "spec/discard", value))
        assert status == 422
        assert "discard cannot be taken back" in answer["message"]


def test_a_request_of_the_former_release_can_still_be_cancelled() -> None:
    """Its definition wrote safetyBackup: true into every request."""
    name = "restorerequests.holdfast.dev"
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    with ApiServer() as server:
        server.install_crds()
        former = server.must("GET", path)
        root = former["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        root["properties"]["spec"]["properties"]["safetyBackup"]["default"] = True
        rules = root.pop("x-kubernetes-validations")
        server.must("PUT", path, former)
        body = changed(EXAMPLES["restore-run"], "spec", {"source": POLICY})

        def has_default(wanted: bool) -> bool:
            status, answer = try_create(server, body)
            return status == 201 and ("safetyBackup" in answer["spec"]) is wanted

        wait_until(lambda: has_default(True), "the former definition is served")
        address, request = started(server, body)
        present = server.must("GET", path)
        root = present["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        del root["properties"]["spec"]["properties"]["safetyBackup"]["default"]
        root["x-kubernetes-validations"] = rules
        server.must("PUT", path, present)
        wait_until(lambda: has_default(False), "the present definition is served")
        assert server.must("GET", address)["spec"]["safetyBackup"] is True
        server.must("PUT", f"{address}/status", request | {"status": {"phase": "Running"}})
        server.must("PUT", address, changed(server.must("GET", address), "spec/cancel", True))
