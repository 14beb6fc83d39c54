"""Real text for the sample knowledge base: the documentation that ships with every Python."""

import ast
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

# How many the sample application has.
COUNT = 10_000
_MIN, _MAX = 40, 600


@dataclass(frozen=True)
class Passage:
    """A paragraph of documentation and where it stands."""

    source: str
    title: str
    text: str


def passages(count: int) -> list[Passage]:
    """The first `count` distinct paragraphs, in an order that never changes for one Python version."""
    found: dict[str, Passage] = {}
    for module in ["pydoc_data.topics", *sorted(sys.stdlib_module_names)]:
        for title, text in _documentation(module):
            for paragraph in re.split(r"\n\s*\n", text):
                clean = " ".join(paragraph.split())[:_MAX]
                if len(clean) >= _MIN:
                    found.setdefault(clean, Passage(module, title, clean))
        if len(found) >= count:
            return list(found.values())[:count]
    raise ValueError(f"this Python's documentation has {len(found)} paragraphs, {count} are needed")


def _documentation(module: str) -> list[tuple[str, str]]:
    """The titled texts of a module: its topics, or the docstrings of its source files."""
    if module == "pydoc_data.topics":
        from pydoc_data.topics import topics  # type: ignore[import-not-found, unused-ignore]

        return sorted(topics.items())
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return []
    folder = Path(spec.origin)
    files = sorted(folder.parent.rglob("*.py")) if folder.name == "__init__.py" else [folder]
    return [text for file in files if "/test/" not in file.as_posix() for text in _docstrings(file)]


def _docstrings(file: Path) -> list[tuple[str, str]]:
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # some of the library's files are broken on purpose, as test data
        return []
    named = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, named)]
    texts = [(getattr(node, "name", file.stem), ast.get_docstring(node)) for node in nodes]
    return [(title, text) for title, text in texts if text]
