-- The database with the odd name, in Latin-1 and without the schema `public`.
DROP SCHEMA public;
CREATE SCHEMA s;
CREATE TABLE s."täble" AS SELECT g AS id, 'grüße ' || g AS "cöl" FROM generate_series(1, 30) g;
