"""Run the commands of a run's hooks, each in a task of its own, so that none holds up the queue."""

import asyncio
import logging
from dataclasses import dataclass

from holdfast.api.run import BackupRun, Failure
from holdfast.controller.channels import CommandExit
from holdfast.controller.errors import ApiError, ForbiddenError, TransientError
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.domain.run import hooks
from holdfast.domain.run.hooks import HOOK_FAILED, POD_NOT_FOUND, Candidate, CommandEnd, DueHook
from holdfast.domain.run.lifecycle import RunStep
from holdfast.domain.step import Step

_MAX_AT_ONCE = 40
"""Commands at once: each needs a connection, of which the client has a hundred."""
_PAUSE = 1.0
"""Seconds between attempts while the API server does not answer."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Command:
    uid: str
    due: DueHook
    task: "asyncio.Task[CommandEnd]"


class Hooks:
    """At most one of each run. Its end wakes the run; one that the operator's end cut off is run again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._commands: dict[Key, _Command] = {}
        self._gate = asyncio.Semaphore(_MAX_AT_ONCE)

    def advance(self, run: BackupRun, due: DueHook) -> RunStep | None:
        """The next step of the hook that is due, the same until it is saved; None while the command runs."""
        key, now = Key.of(run), self._context.now()
        if hooks.status_of(run.status, due) is None:
            return Step(hooks.with_hook_started(run.status, due, now))
        command = self._commands.get(key)
        if command is None or (command.uid, command.due) != (run.metadata.uid, due):
            self.stop_waiting(key)
            task = asyncio.create_task(self._run(key, run, due))
            self._commands[key] = _Command(run.metadata.uid, due, task)
            return None
        return hooks.end_hook(run.status, due, command.task.result(), now) if command.task.done() else None

    def stop_waiting(self, key: Key) -> None:
        """Wait for the run's hook no longer. Its command is not ended by that."""
        command = self._commands.pop(key, None)
        if command is not None:
            command.task.cancel()

    async def _run(self, key: Key, run: BackupRun, due: DueHook) -> CommandEnd:
        try:
            async with self._gate:
                return await self._in_time(run, due)
        except Exception as error:  # noqa: BLE001 a defect must not leave the application paused
            _log.exception("hook %s of %s met a defect", due.hook.name, key)
            return CommandEnd(Failure(reason=HOOK_FAILED, message=f"{type(error).__name__}: {error}"))
        finally:
            self._context.queue.add(key)

    async def _in_time(self, run: BackupRun, due: DueHook) -> CommandEnd:
        execution = _Execution(self._context, run, due)
        try:
            async with asyncio.timeout(due.hook.timeout.seconds):
                return await execution.command_end()
        except TimeoutError:
            return execution.failed(f"not done within {due.hook.timeout}{execution.why}")
        except ForbiddenError as error:
            return execution.failed(f"{error}; the chart's value operator.hooks must be true for hooks")
        except ApiError as error:
            return execution.failed(str(error))


class _Execution:
    """One hook, as often as the API server has to be asked."""

    def __init__(self, context: Context, run: BackupRun, due: DueHook) -> None:
        self._context = context
        self._run = run
        self._hook = due.hook
        self._paused = hooks.pods_paused(run.status) if due.when == "After" else frozenset()
        self._pod: str | None = None
        self.error = ""

    @property
    def why(self) -> str:
        """What kept it from being done, if that is known."""
        return f": {self.error}" if self.error else ""

    async def command_end(self) -> CommandEnd:
        """How the command ended, however often the API server has to be asked."""
        while True:
            try:
                return await self._execute()
            except (TransientError, ForbiddenError) as error:
                asker = self._run.metadata.uid, "hook", self._hook.name
                if isinstance(error, ForbiddenError) and self._context.is_final(error, asker):
                    raise
                self.error = str(error)
                _log.debug("hook %s is retried: %s", self._hook.name, error)
            await asyncio.sleep(_PAUSE)

    async def _execute(self) -> CommandEnd:
        """Choose a pod and run the command there."""
        namespace, labels = self._run.metadata.namespace, self._hook.pod_selector.match_labels
        pods = await self._context.cluster.candidates(namespace, labels)
        pod = hooks.choose_pod(pods, self._paused)
        if pod is None:
            return CommandEnd(Failure(reason=POD_NOT_FOUND, message=_none_found(pods, labels)))
        self._pod = pod.name
        container = hooks.container_of(pod, self._hook)
        if container not in pod.containers:
            return self.failed(f"it has no container {container}, only {', '.join(pod.containers)}")
        _log.info("hook %s: in pod %s/%s, container %s", self._hook.name, namespace, pod.name, container)
        done = await self._context.cluster.execute(namespace, pod.name, container, self._hook.command)
        if done.exit_code == 0:
            return CommandEnd(pod=pod.name, exit_code=0)
        return self.failed(_describe(done), done.exit_code)

    def failed(self, message: str, exit_code: int | None = None) -> CommandEnd:
        """The end of a hook that failed."""
        at = f"pod {self._pod}: " if self._pod else ""
        return CommandEnd(Failure(reason=HOOK_FAILED, message=at + message), self._pod, exit_code)


def _none_found(pods: list[Candidate], labels: dict[str, str]) -> str:
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    return f"none of {len(pods)} pods with {selector} is running and ready"


def _describe(done: CommandExit) -> str:
    what = done.message if done.exit_code is None else f"the command ended with exit code {done.exit_code}"
    return f"{what}: {done.output}" if done.output else what
