-- The statements of the timer in SQLite, by name. Times are milliseconds since 1970 by the host's clock. :now is read
-- after the transaction has the write lock. Each section is one transaction, and returns the rows of its last
-- statement.
--
-- A statement reads what is due or asked for and no more, also if ANALYZE was run when the table was nearly empty: SQLite
-- then expects that the timer has few rows, and would read all of them. INDEXED BY prevents that where rows are read in
-- their order. The primary key begins with the key, so where keys are given, it has no rows of the timer to begin with.
-- coalesce() keeps SQLite from the index of all leased, or all buried, rows there.
--
-- A row is buried if buried_at is set, claimed if leased_until is in the future, otherwise pending. The row with the
-- empty key has the generation of its timer in the column reason and the latest token. If
-- the table is emptied, this row is lost together with the deadlines.

-- name: exists
SELECT count(*) > 0 FROM sqlite_master WHERE type = 'index' AND name = 'lapse_deadline_pending';

-- name: schema
CREATE TABLE IF NOT EXISTS lapse_deadline (
    timer TEXT NOT NULL,
    key TEXT NOT NULL,
    due INTEGER NOT NULL,
    visible INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    leased_until INTEGER,
    buried_at INTEGER,
    reason TEXT,
    PRIMARY KEY (key, timer)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS lapse_deadline_pending ON lapse_deadline (timer, visible, key)
WHERE buried_at IS NULL AND leased_until IS NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_leased ON lapse_deadline (timer, leased_until, visible, key)
WHERE leased_until IS NOT NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_buried ON lapse_deadline (timer, buried_at, key) WHERE buried_at IS NOT NULL;

-- name: drop
DROP TABLE IF EXISTS lapse_deadline;

-- name: arm
INSERT INTO lapse_deadline (timer, key, due, visible)
SELECT :timer, json_extract(value, '$.key'), json_extract(value, '$.due'), json_extract(value, '$.due') FROM json_each(:items) WHERE true
ON CONFLICT (timer, key) DO UPDATE SET
    due = excluded.due, visible = excluded.due, attempt = 0, leased_until = NULL, buried_at = NULL, reason = NULL;

-- name: restore
INSERT INTO lapse_deadline (timer, key, due, visible)
SELECT :timer, json_extract(value, '$.key'), json_extract(value, '$.due'), json_extract(value, '$.due') FROM json_each(:items) WHERE true
ON CONFLICT (timer, key) DO NOTHING;

-- name: disarm
DELETE FROM lapse_deadline WHERE timer = :timer AND key IN (SELECT value FROM json_each(:items)) RETURNING key;

-- name: look
SELECT :now, min(at) FROM (
    SELECT min(visible) AS at FROM (
        SELECT visible FROM lapse_deadline INDEXED BY lapse_deadline_pending
        WHERE timer = :timer AND buried_at IS NULL AND leased_until IS NULL ORDER BY visible LIMIT 1
    )
    UNION ALL
    SELECT min(leased_until) FROM lapse_deadline INDEXED BY lapse_deadline_leased
    WHERE timer = :timer AND leased_until IS NOT NULL
);

-- name: claim
-- Rows whose leases have ended are claimed like pending rows, by their original due times. One row more than the limit shows
-- whether there is a backlog.
INSERT INTO lapse_deadline (timer, key, due, visible, buried_at, reason, token)
VALUES (:timer, '', 0, 0, 0, :generation, :now * 1000)
ON CONFLICT (timer, key) DO UPDATE SET token = max(token + 1, excluded.token);

WITH ended AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline INDEXED BY lapse_deadline_leased
    WHERE timer = :timer AND leased_until <= :now
    ORDER BY leased_until, visible, key LIMIT :limit + 1
),
pending AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline INDEXED BY lapse_deadline_pending
    WHERE timer = :timer AND buried_at IS NULL AND leased_until IS NULL AND visible <= :now
    ORDER BY visible, key LIMIT :limit + 1
),
old AS MATERIALIZED (
    SELECT key, visible FROM ended
    UNION ALL
    SELECT key, visible FROM pending
    ORDER BY visible, key LIMIT :limit + 1
),
young AS MATERIALIZED (
    SELECT key FROM lapse_deadline INDEXED BY lapse_deadline_pending
    WHERE timer = :timer AND buried_at IS NULL AND leased_until IS NULL AND visible <= :now
    ORDER BY visible DESC, key DESC
    LIMIT CASE WHEN (SELECT count(*) FROM old) > :limit THEN :young ELSE 0 END
),
chosen AS MATERIALIZED (
    SELECT key FROM young
    UNION ALL
    SELECT key FROM (
        SELECT key FROM old WHERE key NOT IN (SELECT key FROM young)
        ORDER BY visible, key LIMIT :limit - (SELECT count(*) FROM young)
    )
)
UPDATE lapse_deadline SET
    visible = due,
    attempt = attempt + 1,
    token = (SELECT token FROM lapse_deadline WHERE timer = :timer AND key = ''),
    leased_until = :now + :lease
WHERE timer = :timer AND key IN (SELECT key FROM chosen)
RETURNING key, due, attempt, token, :now, leased_until;

-- name: renew
UPDATE lapse_deadline SET leased_until = :now + :lease
WHERE timer = :timer AND coalesce(leased_until, 0) > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key, leased_until;

-- name: settle
DELETE FROM lapse_deadline
WHERE timer = :timer AND coalesce(leased_until, 0) > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key;

-- name: release
UPDATE lapse_deadline SET
    visible = CASE WHEN :delay > 0 THEN :now + :delay ELSE due END,
    attempt = attempt - :forgiven,
    leased_until = NULL
WHERE timer = :timer AND coalesce(leased_until, 0) > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key;

-- name: bury
UPDATE lapse_deadline SET leased_until = NULL, buried_at = :now, reason = :reason
WHERE timer = :timer AND coalesce(leased_until, 0) > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key;

-- name: names
SELECT DISTINCT timer FROM lapse_deadline ORDER BY timer;

-- name: buried
SELECT key, due, attempt, reason, buried_at FROM lapse_deadline INDEXED BY lapse_deadline_buried
WHERE timer = :timer AND buried_at IS NOT NULL AND key <> ''
ORDER BY buried_at, key LIMIT :limit;

-- name: revive
UPDATE lapse_deadline SET visible = min(due, :now), attempt = 0, buried_at = NULL, reason = NULL
WHERE timer = :timer AND coalesce(buried_at, -1) >= 0 AND key IN (SELECT value FROM json_each(:items))
RETURNING key;

-- name: stats
WITH known AS (
    SELECT visible, visible <= :now AS is_due, false AS is_claimed, false AS is_buried
    FROM lapse_deadline WHERE timer = :timer AND buried_at IS NULL AND leased_until IS NULL
    UNION ALL
    SELECT visible, visible <= :now, leased_until > :now, false
    FROM lapse_deadline WHERE timer = :timer AND leased_until IS NOT NULL
    UNION ALL
    SELECT visible, false, false, true
    FROM lapse_deadline WHERE timer = :timer AND buried_at IS NOT NULL AND key <> ''
)
SELECT
    :now,
    count(*) FILTER (WHERE NOT is_buried AND NOT is_claimed),
    count(*) FILTER (WHERE NOT is_buried AND NOT is_claimed AND is_due),
    count(*) FILTER (WHERE is_claimed),
    count(*) FILTER (WHERE is_buried),
    min(visible) FILTER (WHERE NOT is_buried AND NOT is_claimed AND is_due),
    min(visible) FILTER (WHERE NOT is_buried AND NOT is_claimed AND NOT is_due)
FROM known;

-- name: generation
-- An older copy of the file has the same row. If the copy replaces the file, the inode differs.
SELECT reason || '/' || :file FROM lapse_deadline WHERE timer = :timer AND key = '';

-- name: begin_generation
INSERT INTO lapse_deadline (timer, key, due, visible, buried_at, reason, token)
VALUES (:timer, '', 0, 0, 0, :generation, :now * 1000) ON CONFLICT (timer, key) DO NOTHING;
