"""Why a server cannot be reached is said in words and with the user's names."""

import socket
import ssl

import pytest

from holdfast.api.base import SecretRef
from holdfast.engines.access import named, why_broken


@pytest.mark.parametrize(
    ("error", "host", "words"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "redis-x.rag.svc",
            "namespace rag has no Service redis-x, or no pod of that Service is ready",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "redis.example.com",
            "DNS knows no host redis.example.com",
        ),
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            "redis.rag.svc",
            "DNS did not answer for redis.rag.svc: Temporary failure in name resolution",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "redis.rag.svc", "Connection refused"),
        (TimeoutError("timed out"), "redis.rag.svc", "no answer in time"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"),
            "redis.rag.svc",
            "wrong version number",
        ),
        (EOFError(), "redis.rag.svc", "the connection broke"),
    ],
)
def test_the_error_of_a_connection_is_put_in_words(error: Exception, host: str, words: str) -> None:
    assert why_broken(error, host) == words


def test_what_a_client_made_its_own_error_of_counts() -> None:
    error = RuntimeError("[Errno 111] Connection refused")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert why_broken(error, "chroma.rag.svc") == "Connection refused"
    assert why_broken(RuntimeError("Server disconnected."), "chroma.rag.svc") == "Server disconnected"


def test_a_secret_is_named_by_its_name_and_its_field() -> None:
    assert named("credentialsSecret", SecretRef(name="pg-backup")) == "Secret pg-backup (credentialsSecret)"
    assert named("credentialsSecret", None) == "credentialsSecret"
