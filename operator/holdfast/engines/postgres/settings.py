"""Configuration settings as SQL, from the form in which the catalogue keeps them."""

import re

from psycopg import sql

# Those with GUC_LIST_QUOTE: their stored value is a list of quoted identifiers, which as one literal would
# become a single element. pg_dump keeps the same list (variable_is_guc_list_quote in its dumputils.c).
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",\s][^,]*?))\s*(?:,|$)')


def set_clause(name: str, value: str) -> sql.Composed:
    """`SET name TO value`, to follow ALTER DATABASE or ALTER ROLE."""
    elements = split_list(value) if name.lower() in _LISTS else [value]
    literals = sql.SQL(", ").join(sql.Literal(element) for element in elements or [""])
    return sql.SQL("SET {} TO {}").format(sql.Identifier(name), literals)


def split_list(value: str) -> list[str]:
    """The elements of a stored list such as `"$user", public`."""
    return [
        match[1].replace('""', '"') if match[1] is not None else match[2]
        for match in _ELEMENT.finditer(value)
    ]
