"""What the pages name exists: paths, links, and the list of decisions."""

import re
from pathlib import Path

import pytest
import yaml
from hack.reference.text import anchor
from tests.machine import REPOSITORY

PACKAGE = REPOSITORY / "operator/holdfast"
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("hack/*.md")])
README = (REPOSITORY / "README.md").read_text()
EXAMPLE = REPOSITORY / "examples/knowledge-base"
# Made by running something.
MADE = {".cluster/kubeconfig"}


def missing_paths(text: str) -> list[str]:
    """The paths in backticks that do not exist, below the root or the package; <engine> stands for any."""
    named = re.findall(r"`([\w.<][\w.<>*/-]*)`", text)
    return [path for path in named if _is_path(path) and not _exists(path)]


def _is_path(path: str) -> bool:
    folder, slash, _ = path.partition("/")
    known = (REPOSITORY / folder).is_dir() or (PACKAGE / folder).is_dir()
    return bool(slash) and path not in MADE and (known or path.endswith((".py", ".toml", ".md", ".yaml")))


def _exists(path: str) -> bool:
    pattern = re.sub(r"<[^>]*>", "*", path).rstrip("/")
    # A package may still be one module.
    return any(any(place.glob(one)) for place in (REPOSITORY, PACKAGE) for one in (pattern, f"{pattern}.py"))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert missing_paths(text) == []
    without_code = re.sub(r"`[^`]*`", "", text)
    for link in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", without_code):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES])
def test_a_link_to_a_heading_finds_it(page: Path) -> None:
    for link, target in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)]+)\)", page.read_text()):
        lines = (page.parent / link if link else page).read_text().splitlines()
        assert target in {anchor(line.lstrip("# ")) for line in lines if line.startswith("#")}, target


def test_the_readmes_commands_name_files_that_exist() -> None:
    commands = re.findall(r"^    .*kubectl .*$", README, re.MULTILINE)
    flag = r"(?:-f|-k|--filename|--kustomize)[ =](\S+)"
    named = {path for command in commands for path in re.findall(flag, command)} - {"-"}
    assert "examples/knowledge-base/run.yaml" in named
    assert [path for path in named if not (REPOSITORY / path).exists()] == []


def test_the_readmes_resources_are_the_examples() -> None:
    resources = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    files = [EXAMPLE / name for name in ("policy.yaml", "run.yaml", "restore.yaml")]
    assert [yaml.safe_load(text) for text in resources] == [
        yaml.safe_load(file.read_text()) for file in files
    ]


def test_every_decision_is_listed() -> None:
    folder = REPOSITORY / "docs/decisions"
    listed = re.findall(
        r"^(\d+)\. \[(.+)\]\((\d{4}-.+\.md)\)$", (folder / "README.md").read_text(), re.MULTILINE
    )
    assert [name for _, _, name in listed] == sorted(path.name for path in folder.glob("0*.md"))
    for number, title, name in listed:
        assert int(name[:4]) == int(number)
        assert (folder / name).read_text().startswith(f"# {number}. {title}\n")


def test_a_path_that_is_gone_is_found() -> None:
    text = (
        "`operator/holdfast/nowhere` `engines/<engine>/pod.py` `domain/plan` `tests/none.py` `a/b` `spec.x`"
    )
    assert missing_paths(text) == ["operator/holdfast/nowhere", "tests/none.py"]
