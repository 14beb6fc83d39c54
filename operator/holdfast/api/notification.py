"""Which events of a policy are sent, and by which channel."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import DnsLabel, Model, Port, SecretRef

Event = Literal[
    "Succeeded",
    "PartiallySucceeded",
    "Failed",
    "Missed",
    "Skipped",
    "DrillPassed",
    "DrillFailed",
    "ObjectiveMissed",
    "WALStalled",
    "QuotaWarning",
    "RestoreSucceeded",
    "RestoreFailed",
    "ContentAlarm",
    "SchemaChanged",
    "CopyMissing",
    "DestinationUnreachable",
    "DataOmitted",
]

MailAddress = Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$", max_length=254)]


class Slack(Model):
    """An incoming webhook of Slack or of a compatible service."""

    webhook_secret: SecretRef
    """A Secret with the key url: the address of the webhook."""


class Smtp(Model):
    """A mail server."""

    host: Annotated[str, Field(pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9.:]*[a-zA-Z0-9])?$", max_length=253)]
    """DNS name or IP address."""
    port: Port = 587
    """TCP port."""
    tls: Literal["StartTLS", "Implicit", "None"] = "StartTLS"
    """StartTLS: the connection is upgraded to TLS. Implicit: it starts with TLS. None: mail is sent
    unencrypted."""


class Email(Model):
    """Mail by SMTP."""

    smtp: Smtp
    """The mail server."""
    from_: MailAddress = Field(alias="from")
    """The sender's address."""
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=20)]
    """The recipients' addresses."""
    credentials_secret: SecretRef | None = None
    """A Secret with the keys username and password. Default: no authentication."""


class Webhook(Model):
    """A POST request with the event as JSON."""

    url_secret: SecretRef
    """A Secret with the key url: the address."""
    hmac_secret: SecretRef | None = None
    """A Secret with the key `key`. Holdfast signs the body with the value of this key (HMAC-SHA256)."""


class Heartbeat(Model):
    """A dead man's switch: an address that is requested after every success, so that silence raises an
    alarm elsewhere."""

    url_secret: SecretRef
    """A Secret with the key url: the address."""


class Notification(Model):
    """A channel and the events that it gets."""

    exactly_one: ClassVar[tuple[str, ...]] = ("slack", "email", "webhook", "heartbeat")
    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.events) || !has(self.heartbeat)",
         "events and heartbeat exclude each other: a heartbeat is sent after each success"),
    )  # fmt: skip

    name: DnsLabel
    """The notification's name. It is unique in the list."""
    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=17)] | None = None
    """The events that are sent; a heartbeat has none. Default: those that need somebody's attention:
    PartiallySucceeded, Failed, Missed, DrillFailed, ObjectiveMissed, WALStalled, QuotaWarning, ContentAlarm,
    SchemaChanged, CopyMissing, DestinationUnreachable and DataOmitted."""
    slack: Slack | None = None
    """Sends a message to a Slack channel."""
    email: Email | None = None
    """Sends a mail."""
    webhook: Webhook | None = None
    """Sends a POST request with JSON."""
    heartbeat: Heartbeat | None = None
    """Sends a request after each success."""
