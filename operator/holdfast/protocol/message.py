"""What every Task and every Result has, and what a Result loses when it is too long."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from holdfast.api.base import Model
from holdfast.api.run import Failure

VERSION: Literal[1] = 1
MAX_RESULT_BYTES = 4096
MAX_MESSAGE = 300


class Task(Model):
    """What a Job is to do. A subclass has `kind`, its component."""

    version: Literal[1] = VERSION
    kind: str


class Note(Model):
    """Something that the operator shows as an event; `warning` also goes to the target's status."""

    reason: str
    message: str
    warning: bool = False


def _cut(text: object) -> object:
    """Names of a source may be long, and none of them makes a backup fail."""
    if isinstance(text, str) and len(text) > MAX_MESSAGE:
        return f"{text[: MAX_MESSAGE - 1]}…"
    return text


class Omission(Model):
    """Something that should be in the backup or in the restored data, and is not."""

    what: Annotated[str, Field(min_length=1, max_length=MAX_MESSAGE), BeforeValidator(_cut)]
    """Such as `rows of the unlogged table public.sessions of knowledge_base`."""
    count: int | None = None
    """How many, where they can be counted."""
    reason: str
    """Why, as one CamelCase word for programs."""

    @property
    def text(self) -> str:
        """In words."""
        return self.what if self.count is None else f"{self.what} ({self.count:,})"


class Check(Model):
    """Something that a restore asks its target for before anything is loaded."""

    check: str
    """What was asked, as one CamelCase word, such as `CollationVersion`."""
    state: Literal["Passed", "Warned", "Blocked"]
    message: str = ""
    remedy: str = ""
    """What a user does about it."""
    may_be_accepted: bool = False
    """Whether the request's `acceptedRisks` make a warning of it."""

    @property
    def text(self) -> str:
        """The check in one line, with what helps."""
        said = f"{self.check}: {self.message}" if self.message else self.check
        return f"{said}: {self.remedy}" if self.remedy else said


@dataclass(frozen=True)
class Cut:
    """A part of a Result that people find elsewhere, and that is shortened when the Result is too long."""

    size: Callable[[Any], int]
    """How much of it a Result has."""
    keep: Callable[[Any, int], Any]
    """The Result with so much of it."""


def _with_notes(result: "Result", keep: int) -> "Result":
    worst = sorted(result.notes, key=lambda note: not note.warning)
    left_out = result.more + len(worst) - keep
    return result.model_copy(update={"notes": tuple(worst[:keep]), "more": left_out})


CUT_NOTES = Cut(lambda result: len(result.notes), _with_notes)


class Result(Model):
    """What a Job answers. A subclass has `kind`, its component."""

    cuts: ClassVar[tuple[Cut, ...]] = (CUT_NOTES,)
    """What is shortened when it does not fit, in this order; all else is what programs need."""

    version: Literal[1] = VERSION
    kind: str
    notes: tuple[Note, ...] = ()
    more: int = 0
    """How many notes did not fit here; the warnings were left out last."""


def _with_omissions(result: Any, keep: int) -> Any:
    left_out = result.omissions_omitted + len(result.omissions) - keep
    return result.model_copy(update={"omissions": result.omissions[:keep], "omissions_omitted": left_out})


CUT_OMISSIONS = Cut(lambda result: len(result.omissions), _with_omissions)


def _with_missing(result: Any, keep: int) -> Any:
    missing = {name: message[:keep] for name, message in result.missing.items()}
    return result.model_copy(update={"missing": missing})


def _with_checks(result: Any, keep: int) -> Any:
    worst = sorted(result.preflight, key=lambda check: ("Blocked", "Warned", "Passed").index(check.state))
    left_out = result.preflight_omitted + len(worst) - keep
    return result.model_copy(update={"preflight": tuple(worst[:keep]), "preflight_omitted": left_out})


CUT_CHECKS = Cut(lambda result: len(result.preflight), _with_checks)
"""The checks before a restore, those that block it last; the log of the Job has all of them."""

CUT_MISSING = Cut(lambda result: MAX_MESSAGE, _with_missing)
"""The ends of the messages of `missing`."""


def _log_tail(result: "FailedResult", keep: int) -> "FailedResult":
    tail = result.failure.log_tail
    return result.with_failure(log_tail=tail[len(tail) - keep :])


class FailedResult(Result):
    """Why a runner ended with another exit code than 0."""

    cuts: ClassVar[tuple[Cut, ...]] = (
        Cut(lambda result: len(result.failure.log_tail), _log_tail),
        CUT_NOTES,
        CUT_OMISSIONS,
        CUT_CHECKS,
        Cut(
            lambda result: len(result.failure.message),
            lambda result, keep: result.with_failure(message=result.failure.message[:keep]),
        ),
    )

    kind: Literal["Failed"] = "Failed"
    exit_code: int
    failure: Failure
    refused: bool = False
    """Nothing was touched: the restore's target was not free, or no identity decrypts the backup."""
    preflight: tuple[Check, ...] = ()
    """What a restore asked its target for, where that has ended it."""
    preflight_omitted: int = 0
    """How many did not fit here; those that block were left out last."""
    omissions: tuple[Omission, ...] = ()
    """What a restore could not make again, where that has ended it."""
    omissions_omitted: int = 0
    """How many did not fit here."""
    staged: tuple[str, ...] = ()
    """The names under which a restore has kept its copy."""

    def with_failure(self, **fields: Any) -> "FailedResult":
        """The Result with other values of fields of its failure."""
        return self.model_copy(update={"failure": self.failure.model_copy(update=fields)})
