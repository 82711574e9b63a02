-- Tables, indexes, joins, aggregates, windows and JSON over ROWS rows in a database file.
-- ROWS is replaced by the runner. The values follow from the row's number; random() has no place.
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;
PRAGMA temp_store = MEMORY;

CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, city INTEGER, born INTEGER, note TEXT);
CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE payment (id INTEGER PRIMARY KEY, person INTEGER, cents INTEGER, at INTEGER);

BEGIN;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 499)
INSERT INTO city SELECT i, printf('city-%05d', (i * 7919) % 100003) FROM n;

WITH RECURSIVE n(i, r) AS (
  SELECT 0, 1 UNION ALL SELECT i + 1, (r * 1103515245 + 12345) % 2147483648 FROM n
  WHERE i < ROWS / 4 - 1)
INSERT INTO person SELECT i, printf('name-%x', r), r % 500, 1920 + r / 500 % 100,
  substr(hex(zeroblob(120)) || hex(r), 1 + r % 200) FROM n;

WITH RECURSIVE n(i, r) AS (
  SELECT 0, 42 UNION ALL SELECT i + 1, (r * 1103515245 + 12345) % 2147483648 FROM n
  WHERE i < ROWS - 1)
INSERT INTO payment SELECT i, (r >> 4) % (ROWS / 4), (r >> 8) % 100000, 1600000000 + i * 7 FROM n;
COMMIT;

CREATE INDEX person_by_city ON person (city, born);
CREATE INDEX person_by_name ON person (name);
CREATE INDEX payment_by_person ON payment (person, cents);
CREATE INDEX payment_by_cents ON payment (cents) WHERE cents > 50000;

SELECT city.name, count(*), sum(cents), max(cents), count(DISTINCT person.id)
  FROM payment JOIN person ON person.id = payment.person JOIN city ON city.id = person.city
  GROUP BY city.id ORDER BY 3 DESC, 1 LIMIT 20;
SELECT born / 10, count(*), sum(length(note)), min(name), max(name) FROM person GROUP BY 1;
SELECT id, person, cents, rank FROM (
  SELECT id, person, cents, row_number() OVER (PARTITION BY person % 97 ORDER BY cents DESC, id)
    AS rank FROM payment) WHERE rank <= 2 ORDER BY person % 97, rank, id LIMIT 60;
SELECT length(group_concat(name, ',')), count(*) FROM (SELECT name FROM person ORDER BY name, id);
SELECT count(*), sum(json_extract(j, '$.cents')) FROM (
  SELECT json_object('id', id, 'cents', cents, 'at', at) AS j FROM payment WHERE cents > 50000);
SELECT length(json_group_array(json_array(id, name))) FROM (
  SELECT id, name FROM person ORDER BY id);

BEGIN;
UPDATE person SET note = upper(name) || note WHERE born % 3 = 0;
DELETE FROM payment WHERE cents < 20000;
UPDATE payment SET cents = cents + 1 WHERE person % 5 = 0;
COMMIT;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(cents), sum(at) FROM payment;
.sha3sum
