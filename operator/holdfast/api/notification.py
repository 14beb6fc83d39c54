"""Who is told of a policy's events, and by which channel."""

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
]

MailAddress = Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$", max_length=254)]


class Slack(Model):
    """An incoming webhook of Slack, or of what speaks the same."""

    webhook_secret: SecretRef
    """The Secret whose key url is the webhook's address."""


class Smtp(Model):
    """A mail server."""

    host: Annotated[str, Field(pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9.:]*[a-zA-Z0-9])?$", max_length=253)]
    """DNS name or IP address."""
    port: Port = 587
    """TCP port."""
    tls: Literal["StartTLS", "Implicit", "None"] = "StartTLS"
    """StartTLS upgrades the connection, Implicit begins with TLS, None sends in the clear."""


class Email(Model):
    """Mail by SMTP."""

    smtp: Smtp
    """The mail server."""
    from_: MailAddress = Field(alias="from")
    """The sender's address."""
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=20)]
    """The recipients' addresses."""
    credentials_secret: SecretRef | None = None
    """A Secret with keys username and password; none sends without authentication."""


class Webhook(Model):
    """A POST of the event as JSON."""

    url_secret: SecretRef
    """The Secret whose key url is the address."""
    hmac_secret: SecretRef | None = None
    """The Secret whose key `key` signs the body by HMAC-SHA256."""


class Heartbeat(Model):
    """A dead man's switch: an address fetched after every success; its silence raises the alarm."""

    url_secret: SecretRef
    """The Secret whose key url is the address."""


class Notification(Model):
    """A channel, and the events that are sent by it."""

    exactly_one: ClassVar[tuple[str, ...]] = ("slack", "email", "webhook", "heartbeat")

    name: DnsLabel
    """Unique among the notifications."""
    events: Annotated[tuple[Event, ...], Field(min_length=1, max_length=12)] = (
        "PartiallySucceeded",
        "Failed",
        "Missed",
        "DrillFailed",
        "ObjectiveMissed",
        "WALStalled",
        "QuotaWarning",
    )
    """What is told; by default whatever needs somebody's attention."""
    slack: Slack | None = None
    """A message to a Slack channel."""
    email: Email | None = None
    """A mail."""
    webhook: Webhook | None = None
    """A signed POST of JSON."""
    heartbeat: Heartbeat | None = None
    """A request after each success."""
