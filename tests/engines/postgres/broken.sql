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

CREATE DOMAIN above AS int;
CREATE TABLE of_domain (id int, v above);
INSERT INTO of_domain VALUES (1, -1);
ALTER DOMAIN above ADD CONSTRAINT zero CHECK (VALUE > 0) NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname = 'zero';

CREATE FUNCTION share(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE TABLE generated (id int, share int GENERATED ALWAYS AS (share(id)) STORED);
INSERT INTO generated (id) VALUES (0), (1);
CREATE OR REPLACE FUNCTION share(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 10 / $1; END $$;

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

CREATE SCHEMA ext;
CREATE EXTENSION unaccent SCHEMA ext;
CREATE EXTENSION cube SCHEMA ext;
CREATE EXTENSION earthdistance SCHEMA ext;
SET search_path = public, ext;
CREATE FUNCTION bare(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT unaccent($1) $$;
CREATE DOMAIN word AS text CHECK (bare(VALUE) <> '');
CREATE TABLE places (id int, name word, latitude float8, longitude float8, UNIQUE (id));
INSERT INTO places SELECT g, 'Plàce ' || g, g, g FROM generate_series(1, 20) g;
CREATE INDEX places_where ON places USING gist (ll_to_earth(latitude, longitude));
CREATE INDEX places_name ON places (bare(name));
CREATE MATERIALIZED VIEW near AS SELECT id FROM places WHERE earth_distance(ll_to_earth(latitude, longitude), ll_to_earth(1, 1)) < 1e6;
CREATE UNIQUE INDEX near_id ON near (id);
