-- A database that PostgreSQL cannot make again as it is: its rows are older than its rules, or its rules find
-- what they need by the search path.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
INSERT INTO parent VALUES (1);
SET session_replication_role = replica;
INSERT INTO child VALUES (1, 1), (2, 99);
SET session_replication_role = origin;

SET allow_system_table_mods = on;
CREATE TABLE doubled (id int, v text);
CREATE INDEX doubled_v ON doubled (v);
INSERT INTO doubled VALUES (1, 'same'), (2, 'same');
UPDATE pg_index SET indisunique = true WHERE indexrelid = 'doubled_v'::regclass;

CREATE TABLE checked (id int, v int);
INSERT INTO checked VALUES (1, -1), (2, 2);
ALTER TABLE checked ADD CONSTRAINT positive CHECK (v > 0) NOT VALID;
COMMENT ON CONSTRAINT positive ON checked IS 'not always';
UPDATE pg_constraint SET convalidated = true WHERE conname = 'positive';

CREATE TABLE ranged (v text) PARTITION BY RANGE (v);
CREATE TABLE ranged_a (v text);
INSERT INTO ranged_a VALUES ('a'), ('z');
ALTER TABLE ranged_a ADD CONSTRAINT proof CHECK (v IS NOT NULL AND v >= 'a' AND v < 'b') NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname = 'proof';
ALTER TABLE ranged ATTACH PARTITION ranged_a FOR VALUES FROM ('a') TO ('b');
ALTER TABLE ranged_a DROP CONSTRAINT proof;

-- from here on everything can be made, though not as pg_dump's script does it
CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower($1) $$;
CREATE FUNCTION plain(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN helper($1); END $$;
CREATE TABLE by_path (id int PRIMARY KEY, v text CHECK (plain(v) <> 'no'), w text GENERATED ALWAYS AS (plain(v)) STORED);
INSERT INTO by_path (id, v) SELECT g, 'V' || g FROM generate_series(1, 50) g;
CREATE INDEX by_path_plain ON by_path (plain(v));
CREATE MATERIALIZED VIEW refreshed AS SELECT plain(v) AS v FROM by_path;

CREATE FUNCTION is_parent(int) RETURNS bool LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN EXISTS (SELECT FROM public.z_parent p WHERE p.id = $1); END $$;
CREATE TABLE a_child (id int, parent int CONSTRAINT has_parent CHECK (is_parent(parent)));
COMMENT ON CONSTRAINT has_parent ON a_child IS 'by a function';
CREATE TABLE z_parent (id int PRIMARY KEY);
INSERT INTO z_parent VALUES (7);
INSERT INTO a_child VALUES (1, 7);
