"""A connection to one Redis server: TCP or TLS, authenticated, with errors that differ by what to do next.

Replication gives raw bytes behind a reply, which a general client keeps in its own buffers; so the
socket is ours and the protocol is hiredis's.
"""

import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import hiredis

from holdfast.engines.access import ClientCert, why_broken
from holdfast.engines.transfer import SourceError, TaskError, TransferError

CONNECT_SECONDS = 10
IDLE_SECONDS = 120
"""A server that says nothing for so long is given up; while it prepares a snapshot it sends newlines."""
RECEIVE_BYTES = 1 << 18

_GREETINGS = 3

Argument = bytes | str | int


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and how to log in. The password appears in no representation."""

    host: str
    port: int
    side: Literal["Source", "Target"]
    """Begins the reasons of errors: SourceUnreachable, TargetUnreachable."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca: Path | None = None
    credentials_named: str = "credentialsSecret"
    """What messages call the Secret to log in with."""
    ca_named: str = "tls.caSecret"
    """What messages call the Secret or ConfigMap of `ca`."""
    client_cert: ClientCert | None = None
    client_cert_named: str = "tls.clientCertSecret"
    """What messages call the Secret of `client_cert`."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Client:
    """Speaks RESP2 with one server; closed by `with`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connect and log in. Raises SourceError when it cannot be reached, TaskError when it refuses us."""
        self.endpoint = endpoint
        self._reader = hiredis.Reader(replyError=hiredis.ReplyError)
        self._socket = _connect(endpoint)
        try:
            if endpoint.tls:
                self._greet()
            if endpoint.password is not None:
                user = () if endpoint.username is None else (endpoint.username,)
                self.execute("AUTH", *user, endpoint.password)
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        """A first exchange: a server refuses a client certificate only after the handshake (RFC 8446).

        It may close the connection before its alert has been read.
        """
        for _ in range(_GREETINGS):
            try:
                self.try_execute("PING")
            except SourceError as error:
                broken = error
                self._socket.close()
                self._socket = _connect(self.endpoint)
            else:
                return
        raise _client_cert_refused(self.endpoint, broken.message)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def execute(self, *command: Argument) -> Any:
        """One command's reply. Raises the TransferError that its error reply amounts to."""
        self.send(pack(*command))
        reply = self.reply()
        if isinstance(reply, hiredis.ReplyError):
            raise refusal(self.endpoint, str(command[0]), str(reply))
        return reply

    def try_execute(self, *command: Argument) -> Any:
        """One command's reply, or a hiredis.ReplyError."""
        self.send(pack(*command))
        return self.reply()

    def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to packed commands, errors among them, in one round trip."""
        self.send(b"".join(commands))
        return self.replies(len(commands))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._broken(error) from error

    def replies(self, count: int) -> list[Any]:
        """The next `count` replies."""
        next_reply = self._reader.gets
        received: list[Any] = []
        while len(received) < count:
            if (reply := next_reply()) is False:
                self._reader.feed(self.receive())
            else:
                received.append(reply)
        return received

    def reply(self) -> Any:
        """The next reply; an error reply is returned as hiredis.ReplyError."""
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self.receive())
        return reply

    def receive(self) -> bytes:
        """Some raw bytes, at least one. Raises SourceError when the connection has ended."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except OSError as error:
            raise self._broken(error) from error
        if not data:
            raise self._broken("closed by the server")
        return data

    def _broken(self, why: object) -> TransferError:
        side = self.endpoint.side
        if isinstance(why, ssl.SSLError) and _ASKS_FOR_CERT.search(str(why)):
            return _client_cert_refused(self.endpoint, why_broken(why, self.endpoint.host))
        if isinstance(why, TimeoutError):
            why = f"silent for {IDLE_SECONDS} s"
        elif isinstance(why, OSError):
            why = why_broken(why, self.endpoint.host)
        return SourceError(f"{side}ConnectionLost", f"the connection to {self.endpoint} broke: {why}")


def pack(*command: Argument) -> bytes:
    """A command as RESP."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub names a 1-tuple
    return packed


def pack_start(count: int, *arguments: Argument, length: int) -> bytes:
    """The start of a command of `count` parts, up to a part of `length` bytes that is sent after it."""
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in arguments]
    packed = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b$%d\r\n" % (count, packed, length)


def _connect(endpoint: Endpoint) -> socket.socket:
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=CONNECT_SECONDS)
    except OSError as error:
        why = why_broken(error, endpoint.host)
        raise SourceError(f"{endpoint.side}Unreachable", f"{endpoint} cannot be reached: {why}") from error
    try:
        connection = _encrypt(plain, endpoint) if endpoint.tls else plain
        connection.settimeout(IDLE_SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        plain.close()
        raise
    return connection


def _encrypt(plain: socket.socket, endpoint: Endpoint) -> ssl.SSLSocket:
    try:
        context = ssl.create_default_context(cafile=endpoint.ca)
        if endpoint.client_cert is not None:
            _load(context, endpoint.client_cert, endpoint.client_cert_named)
        return context.wrap_socket(plain, server_hostname=endpoint.host)
    except ssl.SSLCertVerificationError as error:
        raise TaskError(
            "CertificateNotTrusted",
            f"the certificate of {endpoint} was refused: {error.verify_message}; {endpoint.ca_named} must "
            "hold the authority that signed it, and the certificate must name the host",
        ) from error
    except OSError as error:
        if isinstance(error, ssl.SSLError) and _ASKS_FOR_CERT.search(str(error)):
            raise _client_cert_refused(endpoint, why_broken(error, endpoint.host)) from error
        raise SourceError(
            f"{endpoint.side}Unreachable",
            f"{endpoint} did not complete the TLS handshake: {why_broken(error, endpoint.host)}",
        ) from error


_ASKS_FOR_CERT = re.compile(
    r"alert (certificate required|bad certificate|unknown ca|certificate expired|certificate unknown"
    r"|unsupported certificate|handshake failure)"
)
"""TLS 1.3 says so with the first answer, and not in the handshake (RFC 8446, 4.4.2.4)."""


def _client_cert_refused(endpoint: Endpoint, why: str) -> TaskError:
    if endpoint.client_cert is None:
        what = f"asks for a client certificate; {endpoint.client_cert_named} must name one"
    else:
        what = f"refused the client certificate of {endpoint.client_cert_named}"
    return TaskError("ClientCertificateRefused", f"{endpoint} {what}: {why}")


def _load(context: ssl.SSLContext, client: ClientCert, named: str) -> None:
    try:
        context.load_cert_chain(client.certificate, client.key)
    except (OSError, ValueError) as error:
        raise TaskError(
            "ClientCertificateRefused",
            f"tls.crt and tls.key of {named} are no certificate with its key: {error}",
        ) from error


_RETRYABLE = {
    "LOADING": "is loading its data",
    "MASTERDOWN": "has lost its primary",
    "NOMASTERLINK": "has lost its primary",
    "BUSY": "is busy with a script",
}


def refusal(endpoint: Endpoint, command: str, reply: str) -> TransferError:
    """What an error reply amounts to: a wrong configuration, or something that may pass."""
    code = reply.split(" ", 1)[0]
    if code in ("NOAUTH", "WRONGPASS") or (command == "AUTH" and code == "ERR"):
        return TaskError(
            "AuthenticationFailed",
            f"{endpoint} refused the login: {reply}; {endpoint.credentials_named} must hold password, and "
            "username for an ACL user other than default",
        )
    if code == "NOPERM":
        match = re.search(r"run the '([^']+)' command", reply)
        rule = f"+{(match[1] if match else command).lower()}"
        if re.search(r"access (one of the|a) key", reply):
            rule = "~*"
        return TaskError("PermissionDenied", f"{endpoint}: {reply}; the user needs the ACL rule {rule}")
    if code in _RETRYABLE:
        return SourceError(f"{endpoint.side}NotReady", f"{endpoint} {_RETRYABLE[code]}: {reply}")
    return SourceError(f"{endpoint.side}Refused", f"{endpoint} refused {command}: {reply}")


def parse_info(reply: bytes | Iterable[str]) -> dict[str, str]:
    """The fields of an INFO reply (https://redis.io/docs/latest/commands/info/)."""
    lines = reply.decode("utf-8", "replace").splitlines() if isinstance(reply, bytes) else reply
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            # Only `module` is there more than once.
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    return fields
