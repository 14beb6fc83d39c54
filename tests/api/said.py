"""Which reasons the code can say, read from its syntax.

A reason is what a parameter or field called `reason` is given, and whatever is handed on to one: constants,
the values of tables, what a property returns. Names of modules play no part.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

CAMEL_CASE = re.compile(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*")
_STATUSES = {"True", "False", "Unknown"}
_PARAMETERS = ("reason", "otherwise", "check")
_TYPES = ("type", "type_")
_EVENTS = ("Notice", "Note")
_DEEP = 3
"""So many functions a reason may be returned through."""
# A table's values are reasons when all of them are CamelCase words, alone or beside others. These are not.
_OTHER_TABLES = {"headers", "_OBSTACLES"}


class Code:
    """The modules of a package but for the table itself, and the names that lead from one to another."""

    def __init__(self, folder: Path) -> None:
        files = [
            path for path in sorted(folder.rglob("*.py")) if "reasons" not in (path.stem, path.parent.name)
        ]
        self.trees = {path: ast.parse(path.read_text(), str(path)) for path in files}
        self._constants: defaultdict[Path, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._words: defaultdict[str, set[str]] = defaultdict(set)
        self._places: defaultdict[str, set[int]] = defaultdict(set)
        self._types: defaultdict[str, set[int]] = defaultdict(set)
        """Where a call that takes a reason takes the type of a condition."""
        self._returned: defaultdict[str, list[tuple[Path, ast.expr]]] = defaultdict(list)
        for path, tree in self.trees.items():
            self._read_names(path, tree)
            self._read_places(path, tree)
        self._read_errors()

    def said(self) -> dict[str, set[str]]:
        """By reason: the files and lines that say it."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                for expression in self._reasons(node):
                    for name in self._values(path, expression):
                        found[name].add(f"{path.name}:{expression.lineno}")
        return dict(found)

    def events(self) -> set[str]:
        """The reasons of events that are written where the event is made."""
        found: set[str] = set()
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and _name(node.func) in _EVENTS:
                    for expression in self._reasons(node):
                        found |= self._values(path, expression)
        return found

    def condition_types(self) -> set[str]:
        """What is set as the type of a condition, looked for as one, or shown in a column."""
        found: set[str] = set()
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    for expression in self._condition_types(node):
                        found |= self._values(path, expression)
        return found

    def _condition_types(self, call: ast.Call) -> Iterator[ast.expr]:
        name = _name(call.func)
        yield from (one for n, one in enumerate(call.args) if n in self._types[name])
        yield from (word.value for word in call.keywords if word.arg in _TYPES and self._types[name])
        if name in ("find_condition", "is_true", "condition_column"):
            yield call.args[1]

    def _read_names(self, path: Path, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._read_constants(self._constants[path], target, node.value)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                words = [part.value for part in ast.walk(node.annotation) if isinstance(part, ast.Constant)]
                self._words[node.target.id] |= {word for word in words if isinstance(word, str)}

    def _read_constants(self, known: dict[str, set[str]], target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=False):
                self._read_constants(known, one, its)
        elif isinstance(target, ast.Name) and target.id.isupper():
            if isinstance(value, ast.Constant) and _is_word(value):
                known[target.id].add(str(value.value))
            if isinstance(value, ast.Name):
                known[target.id] |= known[value.id]

    def _read_places(self, path: Path, tree: ast.Module) -> None:
        """Where functions and classes take a reason: the number of the argument."""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                returns = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
                self._returned[node.name] += [(path, value) for value in returns if value is not None]
                names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
                self._add_places(node.name, names[1:] if names[:1] in (["self"], ["cls"]) else names)
            if isinstance(node, ast.ClassDef):
                fields = [one.target.id for one in node.body
                          if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]  # fmt: skip
                self._add_places(node.name, fields)
                for one in node.body:
                    if isinstance(one, ast.FunctionDef) and one.name == "__init__":
                        self._add_places(node.name, [argument.arg for argument in one.args.args[1:]])

    def _add_places(self, name: str, parameters: list[str]) -> None:
        self._places[name] |= {n for n, one in enumerate(parameters) if one in _PARAMETERS}
        if self._places[name] and "status" in parameters:
            self._types[name] |= {n for n, one in enumerate(parameters) if one in _TYPES}

    def _read_errors(self) -> None:
        """What is derived from an error with a reason takes it where that does."""
        classes = [node for tree in self.trees.values() for node in ast.walk(tree)
                   if isinstance(node, ast.ClassDef)]  # fmt: skip
        for _ in range(5):
            for node in classes:
                for base in map(_name, node.bases):
                    if base.endswith("Error"):
                        self._places[node.name] |= self._places[base]

    def _reasons(self, node: ast.AST) -> Iterator[ast.expr]:
        """The expressions of a node that become a reason."""
        if isinstance(node, ast.Call):
            places = self._places[_name(node.func)]
            yield from (one for n, one in enumerate(node.args) if n in places)
            yield from (word.value for word in node.keywords if word.arg in _PARAMETERS)
            yield from (one for argument in node.args for one in _beside_status(argument))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(target, node.value)
            yield from _table(node.targets[0], node.value)
            yield from _beside_status(node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _assigned(node.target, node.value)
            yield from _table(node.target, node.value)
            yield from _beside_status(node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            yield from _beside_status(node.value)

    def _values(self, path: Path, expression: ast.expr, deep: int = _DEEP) -> set[str]:
        """The words that an expression of a module can come to."""

        def of(parts: Iterable[ast.expr]) -> set[str]:
            return set().union(*(self._values(path, part, deep - 1) for part in parts)) if deep else set()

        match expression:
            case ast.Constant():
                return {str(expression.value)} if _is_word(expression) else set()
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return self._named(path, name, deep)
            case ast.IfExp():
                return of((expression.body, expression.orelse))
            case ast.BoolOp():
                return of(expression.values)
            case ast.Call(func=ast.Attribute(attr="get")):
                return of(expression.args[1:])
            case ast.JoinedStr(values=[ast.FormattedValue(value=chosen), ast.Constant(value=end)]):
                return {word + str(end) for word in self._words[_name(chosen)]}
        return set()

    def _named(self, path: Path, name: str, deep: int) -> set[str]:
        """A constant of the module, else of any other it may come from, else what a property returns."""
        if own := self._constants[path].get(name):
            return own
        if constants := set().union(*(known.get(name, ()) for known in self._constants.values())):
            return constants
        returned = self._returned.get(name, ()) if deep else ()
        return set().union(*(self._values(where, value, deep - 1) for where, value in returned))


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[ast.expr]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _assigned(one, its)
    elif _name(target) == "reason":
        yield value


def _beside_status(value: ast.expr) -> Iterator[ast.expr]:
    """What follows a condition's status in a tuple: ("False", "NoRunYet", "no run has ended yet")."""
    if isinstance(value, ast.Tuple) and len(value.elts) > 1:
        first, second = value.elts[:2]
        parts = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
        if all(isinstance(part, ast.Constant) and part.value in _STATUSES for part in parts):
            yield second


def _table(target: ast.expr, value: ast.expr) -> Iterator[ast.expr]:
    """The values of a table of reasons, each alone or a part of a tuple."""
    if _name(target) in _OTHER_TABLES:
        return
    if isinstance(value, ast.Dict) and len(value.values) > 1:
        rows: Iterable[ast.expr] = value.values
    elif isinstance(value, ast.Tuple) and all(isinstance(row, ast.Tuple) for row in value.elts):
        rows = value.elts
    else:
        return
    words = [[one for one in _parts(row) if _is_reason(one)] for row in rows]
    if all(words):
        yield from (one for row in words for one in row)


def _parts(row: ast.expr) -> list[ast.expr]:
    return row.elts if isinstance(row, ast.Tuple) else [row]


def _is_reason(expression: ast.expr) -> bool:
    return _is_word(expression) or (isinstance(expression, ast.Name) and expression.id.isupper())


def _is_word(expression: ast.expr) -> bool:
    return (
        isinstance(expression, ast.Constant)
        and isinstance(expression.value, str)
        and CAMEL_CASE.fullmatch(expression.value) is not None
    )


def _name(expression: ast.expr) -> str:
    if isinstance(expression, ast.Subscript):
        return _name(expression.value)
    if isinstance(expression, ast.Name):
        return expression.id
    return expression.attr if isinstance(expression, ast.Attribute) else ""
