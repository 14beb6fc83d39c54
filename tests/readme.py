"""The README's commands, so that tests run just what it says."""

from tests.machine import REPOSITORY

_SECTION = "## Without Holdfast\n"


def without_holdfast(engine: str, **replaced: str) -> str:
    """The shell lines that bring an engine's artifacts back; `replaced` are words put in place of others."""
    section = (REPOSITORY / "README.md").read_text().partition(_SECTION)[2].partition("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ") or not line]
    (found,) = [block for block in "\n".join(lines).split("\n\n") if block.strip().startswith(f"# {engine}:")]
    for old, new in replaced.items():
        assert old in found, f"the README no longer says {old}"
        found = found.replace(old, new)
    return found
