"""The contract of a BackupPolicy, as a real API server keeps it."""

import copy
import random
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from cronsim import CronSim, CronSimError
from tests.api.objects import ABSENT, EXAMPLES, Case, changed, judge, try_create
from tests.apiserver import ApiServer

CRON = "must have five cron fields, such as 0 2 * * MON-FRI: minute 0-59, hour 0-23, day of month 1-31"
ENDPOINT = "must begin with http:// or https://"
DURATION = "should match"
PATTERN = "should match"
ZONE = "timeZone must be the IANA name of a time zone"
ENGINE = "exactly one of postgres, chroma, redis must be set"
PLACE = "exactly one of s3, gcs, volume must be set"
ADDRESS = "exactly one of service, host must be set"
CHANNEL = "exactly one of slack, email, webhook, heartbeat must be set"
ASKED = "exactly one of sql, chroma, redis must be set"
ONE_CA = "at most one of caSecret, caConfigMap may be set"
CA = {"name": "ca"}
SQL = {"sql": {"database": "a", "query": "SELECT 1"}}
REDIS = {"redis": {"keyPattern": "a*"}}
CHROMA = {"chroma": {"collection": "a"}}
DRILL = "verification/drill"
DRILLED = "verification.drill"
DOTS = "must not contain . or .. as a part of the path"
KEYS = "keys must have 1 to 317 characters"
HOST = {"name": "db.example.org", "port": 1}
TARGET = {"name": "extra", "files": {"claimName": "extra"}}
PLACE_B = {"name": "extra", "volume": {"claimName": "extra"}}


def at(path: str, accepted: list[Any], refused: list[Any], refusal: str = PATTERN) -> list[Case]:
    """Cases on the example that sets every field."""
    yes = [Case("policy", f"spec/{path}", value) for value in accepted]
    return yes + [Case("policy", f"spec/{path}", value, refusal) for value in refused]


def plain(path: str, accepted: list[Any], refused: list[Any], refusal: str = PATTERN) -> list[Case]:
    """Cases on the example that sets what is required, and what has defaults."""
    yes = [Case("policy-minimal", f"spec/{path}", value) for value in accepted]
    return yes + [Case("policy-minimal", f"spec/{path}", value, refusal) for value in refused]


def many(item: dict[str, Any], count: int) -> list[dict[str, Any]]:
    return [item | {"name": f"{item['name']}-{index}"} for index in range(count)]


CASES = [
    *at(
        "schedule",
        [
            ABSENT, "0 2 * * *", "*/5 * * * *", "0 0 1,15 * *", "0 9-17/2 * jan-Mar MON-FRI", "59 23 31 12 7",
            "05 04 09 02 0", "0 2 * * SUN,WED", "0  2  *  *  *", "5/15 * * * *", "0 0 30 2 *",
            "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually",
        ],
        [
            "", "* * * *", "0 0 2 * * *", "@reboot", "@every 5m", "TZ=UTC 0 2 * * *",
            " 0 2 * * *", "0 2 * * * ", "0\t2 * * *",
        ],
        CRON,
    ),
    *at("schedule", [], ["60 * * * *", "*/0 * * * *", "1, * * * *", "1-2-3 * * * *", "-1 * * * *"],
        "minute, field 1 of 5, must be in 0-59"),
    *at("schedule", [], ["0 24 * * *"], "hour, field 2 of 5, must be in 0-23"),
    *at("schedule", [], ["0 0 0 * *", "0 0 32 * *", "0 0 L * *", "0 0 15W * *", "0 0 ? * *"],
        "day of month, field 3 of 5, must be in 1-31"),
    *at("schedule", [], ["0 0 * 13 *", "0 0 * 0 *", "0 0 * FOO *", "0 0 * MON *"],
        "month, field 4 of 5, must be in 1-12"),
    *at("schedule", [], ["0 0 * * 8", "0 0 * * 5L", "0 0 * * FRI#2"],
        "day of week, field 5 of 5, must be in 0-7"),
    *at("verification/schedule", ["0 5 * * 0"], ["", "0 5 * *", "0 0 5 * * 0"], CRON),
    *at("timeZone", ["UTC", "Asia/Ho_Chi_Minh", "America/Argentina/Ushuaia", "Etc/GMT+7"],
        ["Mars/Olympus", "Local", "Asia/ho_chi_minh"], ZONE),
    *at("timeZone", [], ["", "+07:00", "local", "/etc/localtime", "../UTC", "Asia/"]),
    *at("jitter", [ABSENT, "0s", "90s", "1h30m", "30d", "2592000s"],
        ["", "5", "5 minutes", "-5m", "+5m", "1.5h", "5M", "1w", "P1D", "5m "], DURATION),
    *at("startingDeadline", [ABSENT, "1s"], ["0s", "0h0m"], "startingDeadline must be longer than zero"),
    *at("activeDeadline", [ABSENT, "10m"], ["0s"], "activeDeadline must be longer than zero"),
    *at("hooks/before/0/timeout", [ABSENT, "10s"], ["0s"], "timeout must be longer than zero"),
    *at("concurrencyPolicy", ["Forbid", "Queue", ABSENT], ["Replace"], "Unsupported value"),
    *at("catchUp", ["None", "Latest", ABSENT], ["All"], "Unsupported value"),
    *at("retries", [0, 10, ABSENT], [-1, 11], "should be"),
    *plain("targets", [many(TARGET, 1), many(TARGET, 20)], [many(TARGET, 21)], "Too many"),
    *at("targets", [], [[]], "should have at least 1 items"),
    *at("targets", [], [[TARGET, TARGET]], "Duplicate value"),
    *plain("targets/queue/name", ["a", "a" * 40, "a-1"], ["A", "a.b", "-a", "a-", "a_b"]),
    *at("targets/queue/name", [], ["a" * 41], "Too long"),
    *at("targets/cache", [], [{"name": "cache"}, TARGET | {"redis": {"service": HOST}}], ENGINE),
    *at("targets/tickets/postgres/host", [], [HOST], ADDRESS),
    *at("targets/tickets/postgres/service", [], [ABSENT], ADDRESS),
    *at("targets/tickets/postgres/standby/host", [], [HOST], ADDRESS),
    *at("targets/tickets/postgres/standby/service", [], [ABSENT], ADDRESS),
    *at("targets/articles/chroma/host", [], [HOST], ADDRESS),
    *at("targets/articles/chroma/service", [], [ABSENT], ADDRESS),
    *at("targets/queue/redis/host", [], [HOST], ADDRESS),
    *at("targets/queue/redis/service", [], [ABSENT], ADDRESS),
    *at("targets/queue/redis/service/port", [1, 65535, ABSENT], [0, 65536], "should be"),
    *at("targets/cache/redis/host/port", [ABSENT], []),
    *at("targets/articles/chroma/service/port", [ABSENT], []),
    *at("targets/tickets/postgres/service/port", [ABSENT], []),
    *at("targets/tickets/postgres/standby/service/port", [ABSENT], []),
    *at("targets/billing/postgres/majorVersion", [13, 15, 19], [12, 20], "should be"),
    *at("targets/tickets/postgres/majorVersion", [17, 19], [13, 16],
        "incremental needs method: Physical and majorVersion 17 or later"),
    *at("targets/tickets/postgres/incremental", [ABSENT, {}, {"fullEvery": "1d"}], [{"fullEvery": "0d"}],
        "fullEvery must be longer than zero"),
    *at("targets/billing/postgres/incremental", [], [{}], "incremental needs method: Physical"),
    *at("targets/tickets/postgres/walArchiving", [{"onRetainedWALExceeded": "Warn"},
        {"onRetainedWALExceeded": "DropSlot", "maxRetainedWAL": 1}], [{"onRetainedWALExceeded": "DropSlot"}],
        "onRetainedWALExceeded: DropSlot needs maxRetainedWAL"),
    *at("targets/tickets/postgres/passwords", ["Auto", "Include", "Exclude", ABSENT],
        ["Never"], "Unsupported"),
    *at("targets/tickets/postgres/parallelism", [1, 64, ABSENT], [0, 65], "should be"),
    *at("targets/billing/postgres/include",
        [["kb.public.*"], ["*.*.*"], ['"a.b"."*"."c""d"'], ["kb.public.Odd name"], ABSENT],
        [["public.a"], ["a.b.c.d"], ["a..c"], ["a*.b.c"], ['"a.b.c'], ['a."b"x.c'], ["a"]]),
    *at("targets/billing/postgres/include", [], [[]], "should have at least 1 items"),
    *at("targets/billing/postgres/exclude", [["kb.public.*"], []], [["kb.public"]]),
    *at("targets/tickets/postgres/exclude", [], [["kb.public.*"]], "include and exclude are not possible"),
    *at("targets/tickets/postgres/include", [], [["kb.public.*"]], "include and exclude are not possible"),
    *at("targets/tickets/postgres/tls/caConfigMap", [], [CA], ONE_CA),
    *at("targets/articles/chroma/tls/caConfigMap", [], [CA], ONE_CA),
    *at("targets/articles/chroma/tls/clientCertSecret", [], [CA], "unknown field"),
    *at("targets/queue/redis/tls/caConfigMap", [], [CA], ONE_CA),
    *at("targets/orders/mysql/tls/caConfigMap", [], [CA], ONE_CA),
    *at("targets/pages/memcached/tls/caConfigMap", [], [CA], ONE_CA),
    *at("destinations/main/s3/caConfigMap", [], [CA], ONE_CA),
    *at("destinations/main/s3/addressingStyle", ["Auto", "Path", "Virtual", ABSENT], ["path"], "Unsupported"),
    *at("targets/orders/mysql/host", [], [HOST], ADDRESS),
    *at("targets/orders/mysql/service", [], [ABSENT], ADDRESS),
    *at("targets/orders/mysql/service/port", [ABSENT], []),
    *at("targets/orders/mysql/replica/host", [], [HOST], ADDRESS),
    *at("targets/orders/mysql/replica", [ABSENT], [{}], ADDRESS),
    *at("targets/orders/mysql/variant", ["MariaDB", "MySQL", ABSENT], ["Percona"], "Unsupported"),
    *at("targets/orders/mysql/version", ["8", "8.4", "10.11.2", ABSENT], ["8.", "v8", "8.0.0.1"]),
    *at("targets/orders/mysql/credentialsSecret", [ABSENT], []),
    *at("targets/pages/memcached/host", [], [HOST], ADDRESS),
    *at("targets/pages/memcached/service", [], [ABSENT], ADDRESS),
    *at("targets/pages/memcached/service/port", [ABSENT], []),
    *at("targets/attachments/files/runAsUser", [1, 2147483647, ABSENT], [0, 2147483648], "should be"),
    *at("targets/settings/objects/serviceAccountName", [], [ABSENT], "Required value"),
    *at("targets/settings/objects/kinds", [["Deployment.apps/v1", "Certificate.cert-manager.io/v1alpha2"]],
        [["Deployment"], ["deployment.apps/v1"], ["Deployment.apps"], ["Deployment/v1"]]),
    *at("targets/tickets/onOmission", ["Warn", "Fail", ABSENT], ["Ignore"], "Unsupported"),
    *at("targets/tickets/contentAlarm", [ABSENT, {"maxDropPercent": 100}], [{}], "Required value"),
    *at("contentAlarm", [ABSENT, {}, {"maxDropPercent": 0}], [{"maxDropPercent": 101}], "should be"),
    *at("destinations/main/s3", [], [ABSENT], PLACE),
    *at("destinations/google/gcs/bucket", ["a_b.c", "a" * 222], ["ABC", "-ab"]),
    *at("destinations/google/gcs/prefix", [ABSENT], ["a/../b"], f"prefix {DOTS}"),
    *at("destinations/azure/azure/account", ["abc", "a1" * 12], ["ab", "a-b", "Abc"]),
    *at("destinations/azure/azure/container", ["abc", "a-b-c"], ["a--b", "-abc", "a.b"]),
    *at("destinations/azure/azure/prefix", [ABSENT], [".."], f"prefix {DOTS}"),
    *at("retention/verifiedBy", ["Any", "Restore", ABSENT], ["Checksum"], "Unsupported"),
    *at("verification", [{"schedule": "@daily"}, {"checksum": {"schedule": "@daily"}}, {"drill": {}}],
        [{"mode": "Restore"}, {"mode": "Checksum"}], "mode needs schedule"),
    *at("verification/mode", ["Restore", ABSENT], ["Checksum"], "checksum and mode: Checksum exclude"),
    *at("verification/checksum", [ABSENT], [{}], "Required value"),
    *at(f"{DRILL}/targets",
        [[], [{"name": "queue", "image": "a"}], [{"name": "orders", "image": "a@sha256:1"}]],
        [[{"name": "nobody", "image": "a"}], [{"name": "settings", "image": "a"}]],
        f"{DRILLED}.targets must name targets of the policy that have a server"),
    *at(f"{DRILL}/targets", [], [[{"name": "queue", "image": "a"}] * 2], "Duplicate value"),
    *at(f"{DRILL}/references/articles/from", [{"target": "orders"} | SQL, {"target": "cache"} | REDIS],
        [{"target": "nobody"} | SQL, {"target": "queue"} | SQL, {"target": "tickets"} | REDIS,
         {"target": "settings"} | CHROMA],
        f"from in {DRILLED}.references must name a target"),
    *at(f"{DRILL}/references/articles/to", [{"target": "billing"} | SQL],
        [{"target": "nobody"} | CHROMA, {"target": "queue"} | CHROMA, {"target": "articles"} | REDIS],
        f"to in {DRILLED}.references must name a target"),
    *at(f"{DRILL}/references/articles/to", [],
        [{"target": "articles"}, {"target": "articles"} | SQL | CHROMA],
        ASKED),
    *at(f"{DRILL}/references/articles/from/sql/query", ["q" * 4096], ["q" * 4097], "Too long"),
    *at(f"{DRILL}/assertions/users/target", ["billing", "orders"], ["nobody", "queue", "articles"],
        f"{DRILLED}.assertions must name a target"),
    *at(f"{DRILL}/assertions/greeting/target", ["cache"], ["pages", "tickets"],
        "assertions must name a target"),
    *at(f"{DRILL}/assertions/handbook/target", ["articles-mirror"], ["queue"],
        "assertions must name a target"),
    *at(f"{DRILL}/assertions/users/redis", [], [{"command": ["PING"], "expect": "PONG"}], ASKED),
    *at(f"{DRILL}/assertions/users/sql", [], [ABSENT], ASKED),
    *at("notifications/pulse/events", [], [["Failed"]], "events and heartbeat exclude each other"),
    *at("notifications/team/events", [["ContentAlarm", "SchemaChanged", "CopyMissing",
        "DestinationUnreachable", "DataOmitted"]], [["CopyLost"]], "Unsupported value"),
    *at("targets/tickets/postgres/method", ["Physical"], ["Logical", "SchemaOnly", ABSENT],
        "walArchiving needs method: Physical"),
    *plain("targets/tickets/postgres/method", ["Logical", "Physical", "SchemaOnly"], ["Dump"], "Unsupported"),
    *at("targets/tickets/postgres/tls/mode",
        ["disable", "allow", "prefer", "require", "verify-ca", "verify-full", ABSENT], ["on"], "Unsupported"),
    *at("targets/tickets/postgres/databases", [ABSENT, ["a"]], [[]], "should have at least"),
    *at("targets/tickets/postgres/credentialsSecret", [], [ABSENT], "Required value"),
    *at("targets/articles/chroma/credentialsSecret", [ABSENT], []),
    *at("targets/articles/chroma/tenants", [ABSENT], [[{"name": "a"}, {"name": "a"}]], "Duplicate value"),
    *at("encryption", [], [ABSENT], "targets with postgres.passwords Include need encryption"),
    *at("targets/settings/objects/kinds", [["ConfigMap"], ["Secret"]],
        [["ConfigMap", "ConfigMap"]], "Duplicate value"),
    *at("targets/settings/objects/selector/matchLabels", [{"a": ""}], [{"a" * 318: "b"}], KEYS),
    *at("encryption", [], [ABSENT], "targets with objects.kinds Secret need encryption"),
    *at("encryption/age/recipients", [],
        [["age1short"], ["ssh-ed25519 AAAA"]], "must be the public key of an age X25519 identity"),
    *at("encryption/age/recipients", [], [["AGE-SECRET-KEY-1" + "Q" * 58]], "is a private key"),
    *at("encryption/age/identitySecret", [ABSENT], []),
    *at("destinations", [many(PLACE_B, 5)], [many(PLACE_B, 6)], "Too many"),
    *at("destinations", [], [[PLACE_B, PLACE_B]], "Duplicate value"),
    *at("destinations/main/volume", [], [{"claimName": "a"}], PLACE),
    *at("destinations/rack/volume", [], [ABSENT], PLACE),
    *at("destinations/main/s3/prefix", [ABSENT, "a", "a/b.c/d=e", "a..b"],
        ["/a", "a/", "a//b", "a b", "ä", "a\\b"]),
    *at("destinations/main/s3/prefix", [], ["..", "a/..", "../a", "a/../b", "."], f"prefix {DOTS}"),
    *at("destinations/rack/volume/allowMounted", [True, ABSENT], ["yes"], "must be of type boolean"),
    *at("destinations/rack/volume/path", [ABSENT, "a/b"], ["/a", "a/"]),
    *at("destinations/rack/volume/path", [], ["..", "a/./b"], f"path {DOTS}"),
    *at("destinations/main/s3/bucket", ["abc", "a.b-c", "a" * 63], ["Abc", "-abc", "a_c"]),
    *at("destinations/main/s3/bucket", [], ["ab"], "should be at least 3 chars"),
    *at("destinations/main/s3/endpoint", [ABSENT, "http://127.0.0.1:9000", "https://s3.example.org/"],
        ["s3.example.org", "s3:7070", "ftp://a", "https://a/b", "https://a?b"], ENDPOINT),
    *at("destinations/main/s3/credentialsSecret", [ABSENT], []),
    *at("destinations/main/s3/storageClass", [ABSENT, "STANDARD_IA"], ["standard"]),
    *at("destinations/main/s3/objectLock/mode", ["Governance", "Compliance"], ["GOVERNANCE"], "Unsupported"),
    *at("destinations/main/s3/objectLock/retain", ["30d"], ["30", "30 days"], DURATION),
    *at("destinations/main/s3/objectLock/retain", ["1s", "0d1h"], ["0s", "0d0h"], "longer than zero"),
    *at("destinations/main/quota/size", ["500Gi", "1.5T", 1000], ["500GB", "-1Gi", "Gi"]),
    *at("destinations/main/quota/warnAtPercent", [1, 100, ABSENT], [0, 101], "should be"),
    *at("destinations/main/required", [ABSENT, False], ["no"], "must be of type boolean"),
    *at("retention", [ABSENT, {}, {"keepLast": 0}], [{"keepLast": -1}], "should be"),
    *at("retention/keepDaily", [0, 10000, ABSENT], [10001], "should be less"),
    *at("retention/minVerified", [0, 1000, ABSENT], [1001], "should be less"),
    *at("destinations/main/retention", [ABSENT, {}, {"keepMonthly": 12}], [{"keepYearly": -1}], "should be"),
    *at("verification", [{"schedule": "@daily", "mode": "Checksum"}],
        [{"schedule": "@daily", "mode": "None"}], "Unsupported value"),
    *at("objectives/rpo", [ABSENT, "1h"], ["1 hour"], DURATION),
    *at("hooks/before", [[]], [EXAMPLES["policy"]["spec"]["hooks"]["before"] * 2], "Duplicate value"),
    *at("hooks/before/0/onError", ["Fail", "Continue", ABSENT], ["Ignore"], "Unsupported value"),
    *at("hooks/before/0/podSelector/matchLabels", [{"a": "b"}], [{"": "b"}], KEYS),
    *at("hooks/after/0/podSelector/matchLabels", [{"a": "b"}], [{"a" * 318: "b"}], KEYS),
    *at("notifications/team/email", [], [EXAMPLES["policy"]["spec"]["notifications"][1]["email"]], CHANNEL),
    *at("notifications/team/slack", [], [ABSENT], CHANNEL),
    *at("notifications/team/events", [ABSENT, ["WALStalled"]], [["Failed", "Failed"]], "Duplicate value"),
    *at("notifications/duty/email/smtp/tls", ["StartTLS", "Implicit", "None", ABSENT],
        ["SSL"], "Unsupported value"),
    *at("notifications/duty/email/to", [["a@example.org"]], [["a"], ["A <a@example.org>"], ["a@b@c"]]),
    *at("deletionPolicy", ["Retain", "Delete", ABSENT], ["Keep"], "Unsupported value"),
    *at("history", [ABSENT, {}, {"succeeded": 0, "failed": 1000}], [{"failed": -1}], "should be"),
    *at("runner/nodeSelector", [ABSENT, {"a" * 317: "b"}], [{"a" * 318: "b"}], KEYS),
    *at("runner/annotations", [{"example.org/a": "any text: {}"}], [{"a" * 318: "b"}], KEYS),
    *at("runner/annotations",
        [
            {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
            {"traffic.sidecar.istio.io/excludeOutboundPorts": "5432,6379"},
            {"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8,fd00::/8"},
            {"config.linkerd.io/skip-outbound-ports": "4222-4225"}, {"notistio.io/a": "b"},
            {f"example.org/{n:02}" + "a" * 300: "v" * 1024 for n in range(20)},
        ],
        [
            {"sidecar.istio.io/proxyImage": "evil"}, {"inject.istio.io/templates": "evil"},
            {"sidecar.istio.io/inject": "evil"}, {"proxy.istio.io/config": "{}"}, {"istio.io/rev": "evil"},
            {"proxy.istio.io/overrides": "{}"}, {"sidecar.istio.io/bootstrapOverride": "evil"},
            {"sidecar.istio.io/userVolume": "{}"}, {"config.linkerd.io/proxy-image": "evil"},
            {"consul.hashicorp.com/envoy-extra-args": "evil"}, {"vault.hashicorp.com/agent-image": "evil"},
            {"kuma.io/container-patches": "evil"}, {"appmesh.k8s.aws/sidecarEnv": "evil"},
            {"dapr.io/sidecar-image": "evil"}, {"instrumentation.opentelemetry.io/inject-python": "evil"},
            {"traffic.sidecar.istio.io/excludeOutboundPorts": "$(evil)"},
        ],
        "annotations must not steer what is injected into the pod"),
    *at("runner/podIdentity", ["Image", "Cluster", ABSENT], ["Root"], "Unsupported value"),
    *at("runner/resources/limits/cpu", [1, "1", "500m", "0.5"], ["half", "1.5m2", "2Gi"]),
    *at("runner/resources/limits/memory", [1048576, "512Mi"], ["512mb", "-1"]),
    *at("runner/tolerations", [[{"operator": "Exists"}]], [[{"operator": "Some"}]], "Unsupported value"),
    Case("policy", "metadata/name", "a" * 45),
    Case("policy", "metadata/name", "a" * 46, "metadata.name must have at most 45 characters"),
    Case("policy", "spec", ABSENT, "Required value"),
    Case("policy", "spec/podSpec", {}, 'unknown field "spec.podSpec"'),
    Case("policy", "spec/targets/queue/redis/urls", [], "unknown field"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(apiserver: ApiServer, case: Case) -> None:
    judge(apiserver, case)


def test_defaults(apiserver: ApiServer) -> None:
    status, answer = try_create(apiserver, EXAMPLES["policy-minimal"])
    assert status == 201, answer
    spec = answer["spec"]
    scalars = {name: value for name, value in spec.items() if isinstance(value, str | bool | int)}
    assert scalars == {
        "timeZone": "UTC",
        "suspend": False,
        "concurrencyPolicy": "Forbid",
        "catchUp": "Latest",
        "startingDeadline": "1h",
        "activeDeadline": "6h",
        "retries": 2,
        "deletionPolicy": "Retain",
    }
    engines = ("postgres", "chroma", "redis", "files", "objects", "mysql", "memcached")
    postgres, chroma, redis, files, objects, mysql, memcached = (
        target[engine] for target, engine in zip(spec["targets"], engines, strict=True)
    )
    servers = (postgres, postgres["standby"], chroma, redis, mysql, mysql["replica"], memcached)
    assert [server["service"]["port"] for server in servers] == [5432, 5432, 8000, 6379, 3306, 3306, 11211]
    assert all(target["onOmission"] == "Warn" for target in spec["targets"])
    assert "contentAlarm" not in spec
    assert postgres["majorVersion"] == 17
    assert postgres["method"] == "Logical"
    assert postgres["credentialsSecret"] == {
        "name": "tickets",
        "usernameKey": "username",
        "passwordKey": "password",
    }
    assert postgres["standby"] | {"maxLag": "5m", "fallbackToPrimary": True} == postgres["standby"]
    assert postgres["tls"] == {"mode": "verify-full"}
    assert postgres["walArchiving"] == {"enabled": False, "maxLag": "2s", "onRetainedWALExceeded": "Warn"}
    assert postgres["parallelism"] == 1
    assert postgres["passwords"] == "Auto"
    assert {"include", "exclude", "incremental"} & postgres.keys() == set()
    assert mysql["replica"] | {"maxLag": "5m", "fallbackToPrimary": True} == mysql["replica"]
    assert chroma["tenants"] == [{"name": "default_tenant", "databases": ["*"]}]
    assert chroma["collections"] == {"include": ["*"], "exclude": []}
    assert redis["preferReplica"] is True
    assert files["paths"] == {"include": ["**"], "exclude": []}
    assert objects["kinds"] == ["ConfigMap"]
    (destination,) = spec["destinations"]
    assert destination["required"] is True
    assert destination["s3"] == {"bucket": "desk-backups", "region": "us-east-1", "addressingStyle": "Auto"}
    assert destination["quota"]["warnAtPercent"] == 80
    assert destination["retention"] == {"minVerified": 1, "verifiedBy": "Any", "dryRun": False}
    assert spec["verification"] == {"drill": {"restart": True}}
    assert spec["hooks"]["before"][0]["timeout"] == "30s"
    assert spec["hooks"]["before"][0]["onError"] == "Fail"
    assert "events" not in spec["notifications"][0]
    assert spec["notifications"][0]["email"]["smtp"] == {"host": "mail", "port": 587, "tls": "StartTLS"}
    assert spec["history"] == {"succeeded": 30, "failed": 10}
    assert spec["runner"]["tolerations"] == [{"operator": "Equal"}]
    assert "status" not in answer


def test_a_refusal_of_a_schedule_is_short(apiserver: ApiServer) -> None:
    _, answer = try_create(apiserver, changed(EXAMPLES["policy"], "spec/schedule", "0 0 2 * * *"))
    assert "spec.schedule" in answer["message"]
    assert len(answer["message"]) < 400


def test_every_cron_expression_that_is_accepted_is_understood(apiserver: ApiServer) -> None:
    """Random expressions: what the schema lets pass the scheduler's parser must understand.

    A range that runs backwards is the exception: no pattern sees it.
    """
    dice = random.Random(20260228)
    parts = ["*", "*/7", "1", "07", "1-3", "1-3/2", "2/3", "1,2,5-6", "MON", "feb", "SUN-TUE", "7", "L", "1W"]
    accepted = 0
    body = copy.deepcopy(EXAMPLES["policy-minimal"])
    for _ in range(300):
        expression = " ".join(dice.choices(parts, weights=[4] * 8 + [1] * 6, k=5))
        body["spec"]["schedule"] = expression
        status, answer = try_create(apiserver, body)
        try:
            CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
            understood = not set(expression) & set("LW")
        except CronSimError:
            understood = False
        assert (status == 201) == understood, (expression, answer.get("message"))
        accepted += status == 201
    assert accepted > 20


def test_text_beyond_ascii_is_no_name(apiserver: ApiServer) -> None:
    for character in set(string.punctuation) - {"-"} | {"é", "中"}:
        judge(apiserver, Case("policy", "spec/targets/queue/name", f"a{character}b", "should match"))
