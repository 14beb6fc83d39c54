-- Roles, and the databases that ledger.sql and odd.sql fill.
CREATE ROLE accountants NOLOGIN;
COMMENT ON ROLE accountants IS 'it''s; a "group"';
CREATE ROLE "Odd ""role"" ü" LOGIN PASSWORD 'secret' CREATEDB NOINHERIT CONNECTION LIMIT 5 VALID UNTIL '2100-01-01 00:00+00';
ALTER ROLE "Odd ""role"" ü" SET search_path = "$user", 'Odd, schema', public;
GRANT accountants TO "Odd ""role"" ü";
CREATE DATABASE ledger OWNER "Odd ""role"" ü" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8';
COMMENT ON DATABASE ledger IS 'what was spent';
ALTER DATABASE ledger SET my.setting = 'x''y\z';
REVOKE ALL ON DATABASE ledger FROM PUBLIC;
GRANT CONNECT ON DATABASE ledger TO accountants;
CREATE DATABASE "Odd ""database"" / ü% it's" TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C';
