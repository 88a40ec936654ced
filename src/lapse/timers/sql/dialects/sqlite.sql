-- The statements of the timer in SQLite, by name. Times are milliseconds since 1970 by the host's clock. :now is read
-- after the transaction has the write lock. Each section is one transaction, and returns the rows of its last
-- statement.
--
-- A row is buried if buried_at is set, claimed if leased_until is in the future, otherwise pending. The row with the
-- empty key has the generation of its timer in the column reason and the latest token. If
-- the table is emptied, this row is lost together with the deadlines.

-- name: exists
SELECT count(*) > 0 FROM sqlite_master WHERE type = 'index' AND name = 'lapse_deadline_buried';

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
    PRIMARY KEY (timer, key)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS lapse_deadline_visible ON lapse_deadline (timer, visible, key) WHERE buried_at IS NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_leased ON lapse_deadline (timer, leased_until) WHERE leased_until IS NOT NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_buried ON lapse_deadline (timer, buried_at) WHERE buried_at IS NOT NULL;

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
        SELECT visible FROM lapse_deadline
        WHERE timer = :timer AND buried_at IS NULL AND leased_until IS NULL ORDER BY visible LIMIT 1
    )
    UNION ALL
    SELECT min(leased_until) FROM lapse_deadline WHERE timer = :timer AND leased_until IS NOT NULL
);

-- name: claim
-- One row more than the limit shows whether there is a backlog.
INSERT INTO lapse_deadline (timer, key, due, visible, buried_at, reason, token)
VALUES (:timer, '', 0, 0, 0, :generation, :now * 1000)
ON CONFLICT (timer, key) DO UPDATE SET token = max(token + 1, excluded.token);

WITH old AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = :timer AND buried_at IS NULL AND visible <= :now AND (leased_until IS NULL OR leased_until <= :now)
    ORDER BY visible, key LIMIT :limit + 1
),
young AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = :timer AND buried_at IS NULL AND visible <= :now AND (leased_until IS NULL OR leased_until <= :now)
    ORDER BY visible DESC, key DESC
    LIMIT CASE WHEN (SELECT count(*) FROM old) > :limit THEN :young ELSE 0 END
),
chosen AS MATERIALIZED (
    SELECT key, visible FROM young
    UNION ALL
    SELECT key, visible FROM (
        SELECT key, visible FROM old WHERE key NOT IN (SELECT key FROM young)
        ORDER BY visible, key LIMIT :limit - (SELECT count(*) FROM young)
    )
)
UPDATE lapse_deadline AS d SET
    visible = d.due,
    attempt = d.attempt + 1,
    token = (SELECT token FROM lapse_deadline WHERE timer = :timer AND key = ''),
    leased_until = :now + :lease
FROM chosen
WHERE d.timer = :timer AND d.key = chosen.key
RETURNING key, due, attempt, token, :now, leased_until;

-- name: renew
UPDATE lapse_deadline SET leased_until = :now + :lease
WHERE timer = :timer AND leased_until > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key, leased_until;

-- name: settle
DELETE FROM lapse_deadline
WHERE timer = :timer AND leased_until > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key;

-- name: release
UPDATE lapse_deadline SET
    visible = CASE WHEN :delay > 0 THEN :now + :delay ELSE due END,
    attempt = attempt - :forgiven,
    leased_until = NULL
WHERE timer = :timer AND leased_until > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key;

-- name: bury
UPDATE lapse_deadline SET leased_until = NULL, buried_at = :now, reason = :reason
WHERE timer = :timer AND leased_until > :now
    AND (key, token) IN (SELECT json_extract(value, '$.key'), json_extract(value, '$.token') FROM json_each(:items))
RETURNING key;

-- name: buried
SELECT key, due, attempt, reason, buried_at FROM lapse_deadline
WHERE timer = :timer AND buried_at IS NOT NULL AND key <> ''
ORDER BY buried_at, key LIMIT :limit;

-- name: revive
UPDATE lapse_deadline SET visible = min(due, :now), attempt = 0, buried_at = NULL, reason = NULL
WHERE timer = :timer AND buried_at IS NOT NULL AND key IN (SELECT value FROM json_each(:items))
RETURNING key;

-- name: stats
WITH known AS (
    SELECT
        visible,
        buried_at IS NOT NULL AS is_buried,
        coalesce(leased_until > :now, false) AS is_claimed,
        visible <= :now AS is_due
    FROM lapse_deadline WHERE timer = :timer AND key <> ''
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
