"""Values of every built-in type that a column can have: usual ones, extremes and oddities."""

# ruff: noqa: S104, S608 addresses are values here, and the statements are made of the values below

from collections.abc import Iterator

NONE: tuple[str, ...] = ()
"""Types whose input functions refuse every value: a column of them holds only NULL."""

_LONG_TEXT = "ab\\c\td\r\n'\"€😀" * 3000

VALUES: dict[str, tuple[str, ...]] = {
    "bool": ("t", "f"),
    "bytea": ("", r"\x00", r"\x00ff00fe5c27220a0d", r"\x" + "00ff" * 5000),
    "char": ("a", "", "'", r"\377"),
    "name": ("x", "", 'Odd "name" ü', "n" * 63),
    "int8": ("-9223372036854775808", "0", "9223372036854775807"),
    "int2": ("-32768", "0", "32767"),
    "int4": ("-2147483648", "0", "2147483647"),
    "int2vector": ("1 2 -32768", ""),
    "oidvector": ("1 2 4294967295", ""),
    "oid": ("0", "4294967295"),
    "tid": ("(0,1)", "(4294967295,65535)"),
    "xid": ("0", "4294967295"),
    "xid8": ("0", "18446744073709551615"),
    "cid": ("0", "4294967295"),
    "text": ("", " ", r"\N", r"\.", "NULL", "tab\tnew\nline\rback\\slash", "€ 😀 \u0301 \u200b", _LONG_TEXT),
    "varchar": ("", "x ", "日本語"),
    "bpchar": ("", "x   ", "ü  "),
    "json": ('{"a": 1, "a": 2,  "b": [null, 1e400, "\\u0041"]}', "null", '"x"'),
    "jsonb": ('{"a": {"b": [1, 2.50, 1e100, "x\\ny", null, true]}}', "[]", "0", '"\\u20ac"'),
    "jsonpath": ("$.a[*] ? (@ > 1)", "strict $"),
    "xml": ("<a b='c'>x<!-- y --></a>", "text <b/>", '<?xml version="1.0"?><r>€</r>'),
    "pg_node_tree": NONE,
    "point": ("(0,0)", "(-1e308,1e-308)", "(NaN,Infinity)"),
    "lseg": ("[(0,0),(1,1)]",),
    "path": ("((0,0),(1,1),(2,0))", "[(0,0),(1,1)]"),
    "box": ("(1,1),(0,0)",),
    "polygon": ("((0,0),(1,1),(2,0))",),
    "line": ("{1,2,3}",),
    "circle": ("<(0,0),1.5>",),
    "cidr": ("10.0.0.0/8", "::/0", "2001:db8::/32"),
    "inet": ("192.168.1.1/24", "0.0.0.0", "::ffff:1.2.3.4", "2001:db8::1/64"),
    "macaddr": ("08:00:2b:01:02:03",),
    "macaddr8": ("08:00:2b:01:02:03:04:05",),
    "float4": ("NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "0.1", "-0"),
    "float8": ("NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e308", "0.1", "-0"),
    "numeric": ("NaN", "Infinity", "-Infinity", "0", "1.500", "-" + "9" * 200 + "." + "1" * 200, "1e-1000"),
    "money": ("$0.00", "-92233720368547758.08", "92233720368547758.07"),
    "date": ("4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "2000-02-29"),
    "time": ("00:00:00", "24:00:00", "23:59:59.999999"),
    "timetz": ("00:00:00+15:59:59", "24:00:00-15:59:59", "12:00:00.000001+00"),
    "timestamp": ("4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity"),
    "timestamptz": (
        "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "infinity", "-infinity",
        "2026-10-25 02:30:00+02", "2026-10-25 02:30:00+01",
    ),
    "interval": (
        "-178000000 years", "178000000 years", "1 mon -1 day +00:00:00.000001", "0", "-23:59:59.999999",
    ),
    "bit": ("0", "1"),
    "varbit": ("", "101", "1" * 300),
    "refcursor": ("a cursor", ""),
    "regproc": ("now", "-"),
    "regprocedure": ("abs(integer)",),
    "regoper": ("pg_catalog.||/",),
    "regoperator": ("+(integer,integer)",),
    "regclass": ("pg_class", "-"),
    "regcollation": ('"C"',),
    "regtype": ("integer", "double precision[]"),
    "regrole": ("postgres", '"Odd ""role"""'),
    "regnamespace": ("pg_catalog",),
    "regconfig": ("english",),
    "regdictionary": ("simple",),
    "aclitem": ("postgres=arwdDxt/postgres", "=r/postgres"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    "pg_lsn": ("0/0", "FFFFFFFF/FFFFFFFF"),
    "tsvector": ("", "'a':1A,2B 'it''s':3 'ü\\\\'", "fat cat"),
    "tsquery": ("", "'fat' & !'rat':*A | 'x' <2> 'y'"),
    "gtsvector": NONE,
    "txid_snapshot": ("10:20:10,14,15",),
    "pg_snapshot": ("10:20:10,14,15",),
    "pg_ndistinct": NONE,
    "pg_dependencies": NONE,
    "pg_mcv_list": NONE,
    "pg_brin_bloom_summary": NONE,
    "pg_brin_minmax_multi_summary": NONE,
    "int4range": ("empty", "[1,10)", "(,)", "[-2147483648,2147483647)"),
    "int8range": ("empty", "[1,)"),
    "numrange": ("empty", "(0.1,0.2]", "[NaN,NaN]"),
    "tsrange": ("[-infinity,infinity]", "(,2026-01-01)"),
    "tstzrange": ("[2026-01-01 00:00+00,)", "(-infinity,infinity)"),
    "daterange": ("[2026-01-01,2026-02-01)", "empty"),
    "int4multirange": ("{}", "{[1,3),[5,7)}"),
    "int8multirange": ("{}", "{(,)}"),
    "nummultirange": ("{[0.1,0.2],(3,4)}",),
    "tsmultirange": ("{[2026-01-01,2026-01-02)}",),
    "tstzmultirange": ("{[2026-01-01 00:00+00,)}",),
    "datemultirange": ("{[2026-01-01,2026-01-05),[2026-02-01,)}",),
    # The domains of the SQL standard's information schema.
    "information_schema.cardinal_number": ("0", "2147483647"),
    "information_schema.character_data": ("x",),
    "information_schema.sql_identifier": ("x",),
    "information_schema.time_stamp": ("2026-01-01 00:00:00+00",),
    "information_schema.yes_or_no": ("YES", "NO"),
}  # fmt: skip

BUILT_IN_TYPES = """
SELECT CASE n.nspname WHEN 'pg_catalog' THEN '' ELSE n.nspname || '.' END || typname
  FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
 WHERE t.oid < 16384 AND typtype IN ('b', 'r', 'm', 'd', 'e')
   AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
"""
"""Every type of the server that a column can have: not arrays, pseudo-types and the catalogues' own rows."""


def script() -> str:
    """SQL that makes a table for each type, with its values, NULL, and arrays of them."""
    parts = ["CREATE SCHEMA types;"]
    for name, values in VALUES.items():
        type_name = name if "." in name else f'pg_catalog."{name}"'
        table = f'types."{name}"'
        if not values:
            parts.append(f"CREATE TABLE {table} AS SELECT 1 AS id, NULL::{type_name} AS value;")
            continue
        parts.append(f"CREATE TABLE {table} (id int PRIMARY KEY, value {type_name}, many {type_name}[]);")
        parts.append(f"INSERT INTO {table} VALUES (0, NULL, NULL), (1, NULL, '{{}}');")
        for number, value in enumerate(values, 2):
            literal = "'" + value.replace("'", "''") + "'"
            parts.append(f"INSERT INTO {table} VALUES ({number}, {literal}::{type_name}, NULL);")
        for number, array in enumerate(_arrays(values, ";" if name == "box" else ","), 100):
            literal = "'" + array.replace("'", "''") + "'"
            parts.append(f"INSERT INTO {table} VALUES ({number}, NULL, {literal}::{type_name}[]);")
    return "\n".join(parts)


def _arrays(values: tuple[str, ...], delimiter: str) -> Iterator[str]:
    """Array literals of one and of three dimensions, and one whose lower bound is not 1."""
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    one = "{" + delimiter.join(["NULL", *quoted]) + "}"
    yield one
    two = "{" + one + delimiter + one + "}"
    yield "{" + two + delimiter + two + "}"
    yield f"[-2:{len(values) - 2}]={one}"
