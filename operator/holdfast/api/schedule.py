"""When something is due: cron expressions and time zones, as far as a pattern can say it."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Matches

_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"
_MACROS = "@(hourly|daily|midnight|weekly|monthly|yearly|annually)"


def _field(value: str) -> str:
    part = rf"([*]|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return f"{part}(,{part})*"


_SHAPE = f"^(?i:{_MACROS}|[^ @]+( +[^ ]+){{4}})$"
_SHAPE_MESSAGE = (
    "must have five cron fields, such as 0 2 * * MON-FRI: minute 0-59, hour 0-23, day of month 1-31, "
    "month 1-12 or JAN-DEC, day of week 0-7 or SUN-SAT; or be one of @hourly, @daily, @midnight, @weekly, "
    "@monthly, @yearly, @annually"
)
_FIELDS = (
    ("minute", "0-59", "[0-5]?[0-9]"),
    ("hour", "0-23", "[01]?[0-9]|2[0-3]"),
    ("day of month", "1-31", "0?[1-9]|[12][0-9]|3[01]"),
    ("month", "1-12 or JAN-DEC", f"0?[1-9]|1[0-2]|{_MONTHS}"),
    ("day of week", "0-7 or SUN-SAT", f"0?[0-7]|{_DAYS}"),
)


def _field_pattern(number: int, value: str) -> str:
    """What a text matches whose field of this number is right, or that has no such field."""
    return f"^(?i:@.*|([^ ]+ +){{{number}}}({_field(value)})( .*)?|([^ ]+ *){{0,{number}}})$"


Cron = Annotated[
    str,
    Field(max_length=256),
    Matches(
        (_SHAPE, _SHAPE_MESSAGE),
        *(
            (
                _field_pattern(number, value),
                f"{name}, field {number + 1} of 5, must be in {values}, *, or a "
                f"list, range or step of these; seconds and L W # ? are not supported",
            )
            for number, (name, values, value) in enumerate(_FIELDS)
        ),
    ),
]
"""Five fields, with names and 7 for Sunday, or a macro such as @daily; no seconds, no `L W # ?`."""

TimeZone = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", max_length=64)]
"""An IANA name. A rule of the spec refuses unknown ones and `Local`."""
