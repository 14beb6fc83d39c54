"""When something is due: cron expressions and time zones, as far as a pattern can say it."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
_MACROS = "@(hourly|daily|midnight|weekly|monthly|yearly|annually)"


def _field(value: str) -> str:
    part = rf"([*]|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


CRON_PATTERN = "^(?i:{}|{})$".format(
    _MACROS,
    " +".join(
        _field(value)
        for value in (
            "[0-5]?[0-9]",
            "[01]?[0-9]|2[0-3]",
            "0?[1-9]|[12][0-9]|3[01]",
            f"0?[1-9]|1[0-2]|{_MONTHS}",
            f"0?[0-7]|{_DAYS}",
        )
    ),
)

_CRON_MESSAGE = (
    "must have five cron fields, such as 0 2 * * MON-FRI: minute 0-59, hour 0-23, day of month 1-31, "
    "month 1-12 or JAN-DEC, day of week 0-7 or SUN-SAT; or be one of @hourly, @daily, @midnight, @weekly, "
    "@monthly, @yearly, @annually; seconds and L W # ? are not supported"
)


def _check_cron(value: str) -> str:
    if not re.fullmatch(CRON_PATTERN, value):
        raise ValueError(_CRON_MESSAGE)
    return value


# A rule rather than a `pattern`: the server would answer with two thousand characters of pattern.
_CRON_RULE = {"rule": f"self.matches('{CRON_PATTERN}')", "message": _CRON_MESSAGE}

Cron = Annotated[
    str,
    Field(max_length=256, json_schema_extra={"x-kubernetes-validations": [_CRON_RULE]}),
    AfterValidator(_check_cron),
]
"""Five fields, with names and 7 for Sunday, or a macro such as @daily; no seconds, no `L W # ?`."""

TimeZone = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", max_length=64)]
"""An IANA name. A rule of the spec refuses unknown ones and `Local`."""
