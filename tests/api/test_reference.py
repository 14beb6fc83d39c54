"""docs/reference is what the models, the table of reasons and the settings say, and can be followed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hack.reference.__main__ import pages, stale
from hack.reference.text import anchor, bullet
from tests.machine import REPOSITORY

from holdfast.api.crd import KINDS, definition
from holdfast.api.meta import Resource

REFERENCE = REPOSITORY / "docs/reference"


def test_the_reference_is_not_stale() -> None:
    assert stale(REFERENCE) == []


def test_a_stale_page_is_named_and_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    shutil.copytree(REFERENCE, folder)
    (folder / "reasons.md").write_text("old")
    (folder / "gone.md").write_text("old")
    command = [sys.executable, "-m", "hack.reference", str(folder)]

    checked = subprocess.run([*command, "--check"], cwd=REPOSITORY, capture_output=True, text=True)
    assert checked.returncode == 1
    assert re.findall(r"(\w+\.md) is stale", checked.stderr) == ["gone.md", "reasons.md"]

    subprocess.run(command, cwd=REPOSITORY, check=True)
    assert stale(folder) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.singular)
def test_every_field_is_on_its_page(kind: type[Resource]) -> None:
    schema = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    page = pages()[f"{kind.singular}.md"]
    names = _fields(schema["spec"]) | _fields(schema["status"])
    assert {name for name in names if f"- `{name}`: " not in page} == set()


def _fields(schema: dict) -> set[str]:  # type: ignore[type-arg]
    properties = schema.get("properties", {})
    found = set(properties)
    for inner in (*properties.values(), schema.get("items"), schema.get("additionalProperties")):
        found |= _fields(inner) if isinstance(inner, dict) else set()
    return found


def test_a_small_section_is_described_where_it_is_used() -> None:
    page = pages()["backuppolicy.md"]
    redis = page.partition("### `spec.targets[].redis`")[2].partition("###")[0]
    assert "chroma" not in redis
    assert "\n  - `port`: integer, 1 to 65535. " in redis
    assert "\n    - `name`: name of a Kubernetes object, required. " in page


def test_every_link_within_a_page_leads_to_one_heading() -> None:
    for name, page in pages().items():
        anchors = [anchor(line.lstrip("# ")) for line in page.splitlines() if line.startswith("#")]
        for link in re.findall(r"\]\((#[^)]*)\)", page):
            assert anchors.count(link) == 1, (name, link)


def test_code_is_not_broken_across_lines() -> None:
    text = "word " * 20 + "`a command with spaces` and <a placeholder>"
    assert bullet(text) == ["- " + ("word " * 20).strip(), "  `a command with spaces` and \\<a placeholder>"]
