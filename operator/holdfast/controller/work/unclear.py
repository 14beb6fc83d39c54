"""Say on an object that it is not understood, so that it neither vanishes nor stops what is beside it."""

import logging

from holdfast.controller.errors import InvalidError, NotFoundError, NotUnderstoodError
from holdfast.controller.queue import Handler, Key
from holdfast.controller.reporter import Subject
from holdfast.controller.work.context import Context
from holdfast.domain import unclear

_log = logging.getLogger(__name__)


def answered(context: Context, kind: str, handler: Handler) -> Handler:
    """`handler`, but an object of `kind` that it cannot go on with for this reason says so."""

    async def handle(key: Key) -> float | None:
        try:
            return await handler(key)
        except NotUnderstoodError as error:
            await _say(context, kind, key, error)
            return None  # a change of the object brings it back

    return handle


async def _say(context: Context, kind: str, key: Key, error: NotUnderstoodError) -> None:
    try:
        body = await context.cluster.get_body(key.kind, key.namespace, key.name)
    except NotFoundError:
        return
    problem = error.problem
    if error.body["metadata"]["uid"] != body["metadata"]["uid"]:
        problem = f"{error.body['kind']} {error.body['metadata']['name']}: {problem}"
    message = unclear.message_of(problem, body["metadata"])
    subject = Subject(kind, key.namespace, key.name, body["metadata"]["uid"])
    await context.reporter.report_on(subject, [unclear.notice_of(message)])
    status = unclear.status_of(body, message, context.now())
    if status is None:
        return
    _log.warning("%s: %s", key, message)
    try:
        await context.cluster.put_status(key.kind, body | {"status": status})
    except InvalidError as refused:
        # Its event has said what is wrong. The API server takes no status of it, whatever it says.
        _log.warning("%s: its status cannot be written: %s", key, refused)
