"""A selector of objects by their labels."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Model

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)]


class LabelSelector(Model):
    """Selects objects that have all of these labels."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(min_length=1, max_length=20)]
    """The labels and values that an object must have."""
