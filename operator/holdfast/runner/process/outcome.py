"""Makes a Result fit into a termination message."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from holdfast.protocol import (
    MAX_RESULT_BYTES,
    AnyResult,
    BackupResult,
    CommitResult,
    FailedResult,
    LookupResult,
    SurveyResult,
    VerifyResult,
)

_MAX_MESSAGE = 300


def fit(result: AnyResult, limit: int = MAX_RESULT_BYTES) -> bytes:
    """The Result as JSON of at most `limit` bytes.

    What people can find elsewhere goes first: the log's tail, then the list of artifacts, then notes, then
    the ends of long messages. Raises ValueError when what is left, which programs need, is still too long.
    """
    for shorten in (_log_tail, _artifacts, _notes, _messages):
        if len(encode(result)) <= limit:
            break
        result = shorten(result, limit)
    data = encode(result)
    if len(data) > limit:
        raise ValueError(f"a {result.kind} result of {len(data)} bytes does not fit into {limit}")
    return data


def encode(result: AnyResult) -> bytes:
    """The Result as JSON."""
    return result.model_dump_json(by_alias=True, exclude_none=True).encode()


def _most(size: int, build: Callable[[int], AnyResult], limit: int) -> AnyResult:
    """What `build` makes of the largest number up to `size` that fits, of 0 when none does."""
    best = bisect_right(range(1, size + 1), limit, key=lambda keep: len(encode(build(keep))))
    return build(best)


def _log_tail(result: AnyResult, limit: int) -> AnyResult:
    if not isinstance(result, FailedResult) or not result.failure.log_tail:
        return result
    tail = result.failure.log_tail
    return _most(len(tail), lambda keep: _failure(result, log_tail=tail[len(tail) - keep :]), limit)


def _artifacts(result: AnyResult, limit: int) -> AnyResult:
    if not isinstance(result, BackupResult):
        return result
    every = result.artifacts

    def keep_first(keep: int) -> AnyResult:
        return result.model_copy(update={"artifacts": every[:keep], "artifacts_omitted": len(every) - keep})

    return _most(len(every), keep_first, limit)


def _notes(result: AnyResult, limit: int) -> AnyResult:
    if isinstance(result, LookupResult | VerifyResult):
        return result
    notes = result.notes
    return _most(len(notes), lambda keep: result.model_copy(update={"notes": notes[:keep]}), limit)


def _messages(result: AnyResult, limit: int) -> AnyResult:
    if isinstance(result, FailedResult):
        message = result.failure.message
        return _most(len(message), lambda keep: _failure(result, message=message[:keep]), limit)
    if isinstance(result, BackupResult | CommitResult):
        missing = {name: message[:_MAX_MESSAGE] for name, message in result.missing.items()}
        return result.model_copy(update={"missing": missing})
    if isinstance(result, SurveyResult):
        return _most(_MAX_MESSAGE, lambda keep: _failures(result, keep), limit)
    return result


def _failures(result: SurveyResult, keep: int) -> SurveyResult:
    failures = {
        name: failure.model_copy(update={"message": failure.message[:keep]})
        for name, failure in result.failures.items()
    }
    return result.model_copy(update={"failures": failures})


def _failure(result: FailedResult, **update: Any) -> FailedResult:
    return result.model_copy(update={"failure": result.failure.model_copy(update=update)})
