-- What happens to `ledger` between the runs.
INSERT INTO entries (at, id, account, amount, note) SELECT date '2026-05-01' + g, 1000 + g, 10, g, NULL FROM generate_series(1, 20) g;
DELETE FROM entries WHERE id % 50 = 0;
UPDATE accounts SET name = name || '!' WHERE id < 40;
REFRESH MATERIALIZED VIEW years;
SELECT nextval('at_value'), nextval('never_called');
SELECT lo_from_bytea(4712, 'later');
CREATE TABLE later AS SELECT 'made later' AS text;
