"""The page of the chart's values and the operator's environment."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import yaml
from hack.reference.text import bullet, header, paragraph, sentence

from holdfast.api.text import human_seconds
from holdfast.controller import config

_ROOT = Path(__file__).parents[2]
_VALUES = _ROOT / "charts/holdfast/values.yaml"
_KEY = re.compile(r"((?:  )?)([A-Za-z]+):")


def page() -> str:
    """The page."""
    lines = header("Settings", "charts/holdfast/values.yaml, operator/holdfast/controller/config.py")
    lines += ["## Values of the chart", ""]
    lines += paragraph(
        "These are all values of the chart. Helm refuses what its `values.schema.json` does not allow."
    )
    for path, default, comment in _values():
        shown = f" (default `{default}`)" if default else ""
        lines += bullet(f"`{path}`{shown}. {sentence(comment)}".rstrip())
    lines += ["", "## Environment of the operator", ""]
    lines += paragraph(
        "The chart sets these variables from its values. Exceptions: it does not set "
        "`HOLDFAST_OPERATOR_IMAGE`, and `HOLDFAST_LIVENESS_PORT` is always 8080. Durations are written as in "
        "the resources: 90s, 2m, 1h30m."
    )
    for variable, said, default in _variables():
        lines += bullet(f"`HOLDFAST_{variable}`{said} Default: {default}.")
    return "\n".join(lines).rstrip("\n") + "\n"


def _values() -> Iterator[tuple[str, str, str]]:
    """Path, default and comment of every value, and of the sections that have a comment."""
    values = yaml.safe_load(_VALUES.read_text())
    section, comment = "", []
    for line in _VALUES.read_text().splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
            continue
        match = _KEY.match(line)
        if match is not None:
            outer, name = match.groups()
            section = section if outer else name
            value = values[section][name] if outer else values[name]
            path = f"{section}.{name}" if outer else name
            if comment or outer or not isinstance(value, dict):
                yield path, "" if isinstance(value, dict) and not outer else _flow(value), " ".join(comment)
        comment = []


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return "" if value == "" else text.removesuffix("\n").removesuffix("\n...")


def _variables() -> Iterator[tuple[str, str, str]]:
    """Name, description and default of every variable."""
    defaults = {field.name: field.default for field in fields(config.Config)}
    module = ast.parse(Path(config.__file__).read_text())
    body = next(one.body for one in module.body if isinstance(one, ast.ClassDef) and one.name == "Config")
    for field, doc in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(doc.value, ast.Constant)
            match = re.match(r"[A-Z_]+", text := " ".join(str(doc.value.value).split()))
            assert match is not None
            yield match[0], text.removeprefix(match[0]), _default(defaults[field.target.id])


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return f"`{re.sub(r'(?<=[hm])0[ms]', '', human_seconds(int(value.total_seconds())))}`"
    return f"`{value}`" if value not in (None, ()) else "none"
