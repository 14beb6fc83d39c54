-- The database `ledger`: assorted types and kinds of objects, and nothing that depends on when it is run.
SET TimeZone = 'UTC';
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s "great"');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS numeric(12, 3) CHECK (VALUE > 0);
CREATE TABLE kinds (
    id int PRIMARY KEY, b bool, i2 int2, i8 int8, n numeric, f4 float4, f8 float8, t text, c char(5), bin bytea,
    d date, tm time, ts timestamp, tz timestamptz, span interval, u uuid, j json, jb jsonb, ip inet, net cidr,
    mac macaddr, bits bit varying, r int4range, mr datemultirange, p point, words tsvector, x xml, m mood, pr pair,
    pos positive, many int[], texts text[], moods mood[], pairs pair[]
);
INSERT INTO kinds (id) VALUES (0);
INSERT INTO kinds VALUES
    (1, true, -32768, 9223372036854775807, 'NaN', '1e-45', '5e-324', E'tab\tnew\nline\\ € 😀', 'ab', '\x00ff00fe5c27220a0d',
     '4713-01-01 BC', '24:00:00', 'infinity', '2026-10-25 02:30:00+02', '1 mon -1 day 00:00:00.000001',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '{"a": 1, "a": 2}', '{"a": {"b": [1, 2.50, null]}}', '::ffff:1.2.3.4',
     '2001:db8::/32', '08:00:2b:01:02:03', B'101', '[1,10)', '{[2026-01-01,2026-01-05),[2026-02-01,)}', '(NaN,Infinity)',
     '''a'':1A,2B ''it''''s'':3', '<a b=''c''>x</a>', 'it''s "great"', ROW(1, 'x,y"('), 1.5,
     '[-1:1]={1,NULL,3}', '{"",NULL,"a\"b"}', '{ok,"it''s \"great\""}', ARRAY[ROW(NULL, '')::pair, ROW(2, NULL)::pair]),
    (2, false, 32767, -9223372036854775808, '-123456789012345678901234567890.000000001', 'Infinity', '-0', '', '', '',
     '5874897-12-31', '00:00:00', '294276-12-31 23:59:59.999999', '-infinity', '-178000000 years',
     '00000000-0000-0000-0000-000000000000', 'null', '0', '10.0.0.1/8', '10.0.0.0/8', 'ff:ff:ff:ff:ff:ff', B'', 'empty', '{}',
     '(-1e308,1e-308)', '', '', 'sad', NULL, 99, '{{1,2},{3,4}}', '{}', '{}', '{}');

CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 10 INCREMENT BY 5) PRIMARY KEY,
    name text NOT NULL UNIQUE, gone text, opened date DEFAULT '2026-01-01', moody mood DEFAULT 'ok'
);
COMMENT ON TABLE accounts IS 'ü "quoted"';
INSERT INTO accounts (name) SELECT 'account ' || g FROM generate_series(1, 20) g;
ALTER TABLE accounts DROP gone;
CREATE TABLE entries (
    at date NOT NULL, id int, account bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    amount numeric(12, 2) NOT NULL CHECK (amount <> 0), twice numeric GENERATED ALWAYS AS (amount * 2) STORED, note text,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE TABLE entries_2025 PARTITION OF entries FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE entries_rest PARTITION OF entries DEFAULT;
INSERT INTO entries (at, id, account, amount, note) SELECT date '2025-10-01' + g, g, 10 + 5 * (g % 20), (g * 37 % 1000 - 500.5), 'note ' || g || ' ☃'
    FROM generate_series(1, 200) g;
CREATE INDEX by_amount ON entries (amount DESC) WHERE amount > 0;
CREATE SEQUENCE at_value AS smallint INCREMENT -3 START 100 MAXVALUE 200 MINVALUE -200 CYCLE;
SELECT nextval('at_value'), nextval('at_value');
CREATE SEQUENCE never_called START 42;

CREATE VIEW balances AS SELECT name, sum(amount) AS total FROM accounts JOIN entries ON account = accounts.id GROUP BY name;
CREATE MATERIALIZED VIEW years AS SELECT extract(year FROM at) AS year, count(*) AS entries FROM entries GROUP BY 1;
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER shouting BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION shout();
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts FOR SELECT TO accountants USING (name <> 'account 1');
ALTER TABLE entries OWNER TO "Odd ""role"" ü";
GRANT SELECT, INSERT ON accounts TO accountants WITH GRANT OPTION;

CREATE SCHEMA "Odd "" schema ü" AUTHORIZATION accountants;
CREATE TABLE "Odd "" schema ü"."a ""table"" of $1; --" ("select" int, "a b" text DEFAULT 'x''y');
INSERT INTO "Odd "" schema ü"."a ""table"" of $1; --" VALUES (1, 'x'), (2, NULL);
CREATE TABLE no_rows (id int);

SELECT lo_from_bytea(4711, decode(repeat('00ff10', 20000), 'hex'));
ALTER LARGE OBJECT 4711 OWNER TO "Odd ""role"" ü";
GRANT SELECT ON LARGE OBJECT 4711 TO accountants;
COMMENT ON LARGE OBJECT 4711 IS 'a scan';
