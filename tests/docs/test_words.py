"""The code keeps to the glossary's table of words to avoid: its names, docstrings, comments and texts."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast

PACKAGE = Path(holdfast.__file__).parent
GLOSSARY = PACKAGE.parents[1] / "docs/glossary.md"
EXCEPTIONS = {
    ("api/run.py", "begun"): "a field of the API keeps its name",
}
"""By file below the package and word: why it stays."""


_CLAUSE = re.compile(
    r"(^|[^\w\s]|\bhow many( \w+)?"
    r"|\b(and|as|because|but|if|once|or|so|than|that|until|when|where|whether|while))\s*$",
    re.IGNORECASE,
)
"""The end of a text after which a clause begins."""


class Words:
    """What the table says, in the form in which code is searched for it."""

    def __init__(self, glossary: str) -> None:
        rows = re.findall(r"^\| (`.*`) \| (text, names|text|names) \|", _section(glossary), re.MULTILINE)
        by_place: dict[str, list[str]] = {"text": [], "names": [], "text, names": []}
        for cell, place in rows:
            by_place[place] += re.findall(r"`([^`]+)`", cell)
        self.phrases = (*by_place["text"], *by_place["text, names"])
        self.parts = frozenset(by_place["text, names"])
        """Avoided in names, also in compounds."""
        self.names = frozenset(by_place["names"])
        """Avoided as whole names."""
        self._text = re.compile(
            "|".join(rf"\b{_pattern(phrase)}\b" for phrase in self.phrases), re.IGNORECASE
        )

    def in_text(self, text: str) -> list[str]:
        """The phrases that a text has."""
        matches = [match for match in self._text.finditer(text) if not _is_place(match)]
        return [" ".join(match.group().lower().split()) for match in matches]

    def in_name(self, name: str) -> list[str]:
        """The words that a name is, or is made of."""
        parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)}
        return sorted(parts & self.parts) + [name.strip("_")] * (name.strip("_") in self.names)


def _section(glossary: str) -> str:
    return glossary.partition("\n## Words to avoid\n")[2].partition("\n## ")[0]


def _is_place(match: re.Match[str]) -> bool:
    """Whether `there` names a place, as in "its entry there is damaged"; else it begins a clause."""
    is_there = match.group().lower().startswith("there")
    return is_there and _CLAUSE.search(match.string[: match.start()]) is None


def _pattern(phrase: str) -> str:
    return re.escape(phrase).replace(r"\ ", r"\s+").replace("…", r"[^.;:]*?")


def words_of(source: str, words: Words) -> Iterator[tuple[int, str]]:
    """The lines of a module that have a word to avoid, each with the word."""
    for node in ast.walk(ast.parse(source)):
        for name in _names(node):
            yield from ((node.lineno, word) for word in words.in_name(name))  # type: ignore[attr-defined]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, word) for word in words.in_text(node.value))
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], token.string.lstrip("#")))
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            yield from _of_comments(comments, words)
            comments = []


def _of_comments(comments: list[tuple[int, str]], words: Words) -> Iterator[tuple[int, str]]:
    """Lines of comments are one text."""
    if comments:
        yield from ((comments[0][0], word) for word in words.in_text("".join(line for _, line in comments)))


def _names(node: ast.AST) -> tuple[str, ...]:
    """The names that a node gives."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return (name,)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
            return (name,)
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return (name,)
    return ()


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module")
def words() -> Words:
    return Words(GLOSSARY.read_text())


@pytest.fixture(scope="module")
def used(words: Words) -> dict[tuple[str, str], list[int]]:
    lines: dict[tuple[str, str], list[int]] = {}
    for path in _modules():
        for line, word in words_of(path.read_text(), words):
            lines.setdefault((str(path.relative_to(PACKAGE)), word), []).append(line)
    return lines


def test_the_code_has_no_word_to_avoid(used: dict[tuple[str, str], list[int]]) -> None:
    wrong = [
        f"{file}:{line}: {word}"
        for (file, word), lines in used.items()
        if (file, word) not in EXCEPTIONS
        for line in lines
    ]
    assert wrong == [], "docs/glossary.md says what to write instead"


def test_every_exception_is_needed(used: dict[tuple[str, str], list[int]]) -> None:
    assert {key for key in EXCEPTIONS if key not in used} == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""The watch is told of\nJobs."""', ["told"]),
        ('MESSAGE = f"the operator tries\\nagain in {1} s"', ["tries again"]),
        ("x = 1  # nobody tries it again", ["tries it again"]),
        ("# It is tried\n# again later.\nx = 1", ["tried again"]),
        ('"""Jobs are made anew, meanwhile."""', ["anew", "meanwhile"]),
        ('raise ValueError(f"{1}: there is no run {2}")', ["there is"]),
        ('"""The condition, if there is one; how many there are."""', ["there is", "there are"]),
        ('"""Whether the Job has ended, well or not."""', ["whether the job has ended, well or not"]),
        ("for each in runs: pass", ["each"]),
        ("names = [found for found in runs]", ["found"]),
        ("def f(seen, _item): pass", ["seen", "item"]),
        ("self.found = {}", ["found"]),
        ("def jobs_told(): pass", ["told"]),
        ("class JobBegun: pass", ["begun"]),
    ],
)
def test_a_word_to_avoid_is_noticed(words: Words, source: str, expected: list[str]) -> None:
    assert [word for _, word in words_of(source, words)] == expected


@pytest.mark.parametrize(
    "source",
    [
        "raise NotFoundError(items)",
        "class HookPodNotFound: pass",
        "for name, items in found.items(): pass",
        '"""Each run was found and seen in each destination."""',
        '"""Whether the run is whole. It is deleted or not found."""',
        '"""Its entry there is damaged, and the data there are gone."""',
        '"""The run begins, and an item of it can be looked up again."""',
    ],
)
def test_other_words_are_left_alone(words: Words, source: str) -> None:
    assert list(words_of(source, words)) == []


def test_every_row_of_the_table_is_read(words: Words) -> None:
    rows = [line for line in _section(GLOSSARY.read_text()).splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert named == {*words.phrases, *words.names}
    assert len(rows) > 5
