"""The ways in which a request to the API server fails, as far as they are treated differently."""

import logging
from typing import Any

MAX_RETRY_PAUSE = 60.0
"""Seconds: what fails is retried after this time at the latest."""


class ApiError(Exception):
    """A request failed; `status` is the HTTP status, 0 without an answer."""

    def __init__(self, request: str, status: int, message: str) -> None:
        super().__init__(f"{request}: {status or 'no answer'}: {message}")
        self.request = request
        self.status = status
        self.message = message


class NotFoundError(ApiError):
    """No such object exists."""


class ExpiredError(ApiError):
    """The version that a watch or the next page begins from is no longer kept: list all again."""


class ConflictError(ApiError):
    """The object has changed since it was read: read it again."""


class AlreadyExistsError(ApiError):
    """An object of that name exists."""


class ForbiddenError(ApiError):
    """The operator's service account may not do that, or a quota or admission refuses it."""


class NamespaceTerminatingError(ForbiddenError):
    """Nothing is made any more in a namespace that is being deleted."""


class InvalidError(ApiError):
    """The API server does not accept the object."""


class NotUnderstoodError(ApiError):
    """This release does not understand the object, which is there. `body` is the object."""

    def __init__(self, called: str, problem: str, body: dict[str, Any]) -> None:
        super().__init__(called, 200, f"this release does not understand it: {problem}")
        self.problem = problem
        self.body = body


class TransientError(ApiError):
    """The API server is overloaded, broken or away: the same request may succeed later."""


class RefusedForNowError(TransientError):
    """Forbidden, but perhaps only until a role, a quota or whoever refused it has changed."""

    @classmethod
    def of(cls, error: ForbiddenError) -> "RefusedForNowError":
        """The same, not believed yet."""
        return cls(error.request, error.status, error.message)


def log_level(error: Exception) -> int:
    """Of whoever meets the error: what may pass is logged by the cluster, once for all that meet it."""
    return logging.DEBUG if isinstance(error, TransientError | ForbiddenError) else logging.WARNING
