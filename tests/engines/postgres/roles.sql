-- Roles of every kind.
CREATE ROLE "Odd ""role""" LOGIN PASSWORD 'secret' CONNECTION LIMIT 5 VALID UNTIL '2099-01-01';
CREATE ROLE reader NOINHERIT;
CREATE ROLE writer LOGIN CREATEDB IN ROLE reader ADMIN "Odd ""role""";
ALTER ROLE writer SET search_path = "$user", 'Odd, schema', public;
ALTER ROLE writer SET work_mem = '7MB';
COMMENT ON ROLE reader IS 'it''s; a "reader"';
GRANT pg_monitor TO reader WITH ADMIN OPTION;
GRANT SET ON PARAMETER log_min_duration_statement TO writer WITH GRANT OPTION;
