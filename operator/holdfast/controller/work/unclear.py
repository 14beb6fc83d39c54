"""Say on an object that it is not understood, or what is forbidden, so that it does not just stand still."""

import logging
from typing import Any

from holdfast.api.text import shorten
from holdfast.controller.errors import (
    ForbiddenError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    NotUnderstoodError,
    RefusedForNowError,
)
from holdfast.controller.queue import Handler, Key
from holdfast.controller.reporter import Subject
from holdfast.controller.work.context import REFUSED_SECONDS, Context
from holdfast.domain import unclear

_log = logging.getLogger(__name__)


def answered(context: Context, handler: Handler) -> Handler:
    """`handler`, but an object that it cannot go on with for one of these reasons says so."""

    async def handle(key: Key) -> float | None:
        try:
            delay = await handler(key)
        except NotUnderstoodError as error:
            await _say_unclear(context, key, error)
            return None  # a change of the object brings it back
        except NamespaceTerminatingError:
            raise
        except (ForbiddenError, RefusedForNowError) as error:
            if context.refusals.lasts(key, error.request, context.monotonic(), REFUSED_SECONDS):
                await _say_forbidden(context, key, str(error))
            raise
        context.refusals.end(key)
        return delay

    return handle


async def _say_unclear(context: Context, key: Key, error: NotUnderstoodError) -> None:
    try:
        body = await context.cluster.get_body(key.kind, key.namespace, key.name)
    except NotFoundError:
        return
    problem = error.problem
    if error.body["metadata"]["uid"] != body["metadata"]["uid"]:
        problem = f"{error.body['kind']} {error.body['metadata']['name']}: {problem}"
    message = unclear.message_of(problem, body["metadata"])
    if await _say(context, key, body, unclear.NOT_UNDERSTOOD, message):
        _log.warning("%s: %s", key, message)


async def _say_forbidden(context: Context, key: Key, message: str) -> None:
    """Where even this is forbidden, only the log has it."""
    try:
        body = await context.cluster.get_body(key.kind, key.namespace, key.name)
        await _say(context, key, body, unclear.FORBIDDEN, shorten(message))
    except (ForbiddenError, NotFoundError) as error:
        _log.debug("%s: what is forbidden cannot be said there: %s", key, error)


async def _say(context: Context, key: Key, body: dict[str, Any], reason: str, message: str) -> bool:
    """By an event, then in the status; returns whether the status did not say so before."""
    subject = Subject(body["kind"], key.namespace, key.name, body["metadata"]["uid"])
    await context.reporter.report_on(subject, [unclear.notice_of(reason, message)])
    status = unclear.status_of(body, reason, message, context.now())
    if status is None:
        return False
    try:
        await context.cluster.put_status(key.kind, body | {"status": status})
    except InvalidError as refused:
        # Its event has said what is wrong. The API server takes no status of it, whatever it says.
        _log.warning("%s: its status cannot be written: %s", key, refused)
    return True
