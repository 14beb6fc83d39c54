-- A database of two owners, with what a superuser never notices: forced row-level security, rights that were
-- granted by others, rights that the owner took from itself.
SET SESSION AUTHORIZATION app_owner;
CREATE TABLE documents (id int PRIMARY KEY, tenant text, body text);
INSERT INTO documents SELECT g, 't' || g % 3, repeat('x', g) FROM generate_series(1, 100) g;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON documents USING (tenant = current_user);
CREATE POLICY readers ON documents FOR SELECT TO app_reader USING (true);
CREATE TABLE archived AS SELECT * FROM documents WHERE false;
INSERT INTO archived VALUES (1, 't', 'b');
REVOKE ALL ON archived FROM app_owner;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM documents;
GRANT SELECT ON documents TO app_reader WITH GRANT OPTION;
CREATE EXTENSION pg_trgm;
COMMENT ON EXTENSION pg_trgm IS 'why it is here';
CREATE INDEX ON documents USING gin (body gin_trgm_ops);
CREATE SCHEMA other AUTHORIZATION app_owner;
GRANT CREATE, USAGE ON SCHEMA other TO "app other";
SELECT lo_from_bytea(7, 'large');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION app_reader;
GRANT SELECT ON documents TO "app other";
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION "app other";
CREATE TABLE other.notes AS SELECT 1 AS id;
CREATE FUNCTION other.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
ALTER DEFAULT PRIVILEGES IN SCHEMA other GRANT SELECT ON TABLES TO app_reader;
RESET SESSION AUTHORIZATION;
