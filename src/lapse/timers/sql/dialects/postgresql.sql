-- The statements of the timer in PostgreSQL, by name. Times are milliseconds since 1970 by the server's own clock.
-- Rows are locked in the order of their keys, or locked rows are skipped, so that no two statements wait for each other.
--
-- A row is buried if buried_at is set, claimed if leased_until is in the future, otherwise pending. The row with the
-- empty key has the generation of its timer, in the column reason. If the table is emptied, this row is lost together
-- with the deadlines.

-- name: exists
SELECT to_regclass('lapse_deadline') IS NOT NULL AND to_regclass('lapse_deadline_token') IS NOT NULL;

-- name: schema
SELECT pg_advisory_xact_lock(hashtext('lapse_deadline'));

CREATE TABLE IF NOT EXISTS lapse_deadline (
    timer text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    visible bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    leased_until bigint,
    buried_at bigint,
    reason text,
    PRIMARY KEY (timer, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX IF NOT EXISTS lapse_deadline_visible ON lapse_deadline (timer, visible, key) WHERE buried_at IS NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_leased ON lapse_deadline (timer, leased_until) WHERE leased_until IS NOT NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_buried ON lapse_deadline (timer, buried_at) WHERE buried_at IS NOT NULL;

CREATE SEQUENCE IF NOT EXISTS lapse_deadline_token;

-- Tokens of an earlier, dropped table were lower than the present time in microseconds.
SELECT setval(
    'lapse_deadline_token',
    greatest(last_value, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
) FROM lapse_deadline_token;

-- name: drop
DROP TABLE IF EXISTS lapse_deadline;

DROP SEQUENCE IF EXISTS lapse_deadline_token;

-- name: location
-- No two servers started in the same microsecond. The table counts as missing if this role may not write to it. It also
-- counts as missing in a serializable transaction, which would fail because of deadlines that other transactions arm.
SELECT
    concat_ws(
        '/',
        extract(epoch FROM pg_postmaster_start_time()),
        (SELECT oid FROM pg_database WHERE datname = current_database())
    ),
    CASE
        WHEN has_table_privilege(to_regclass('lapse_deadline')::oid, 'SELECT')
            AND has_table_privilege(to_regclass('lapse_deadline')::oid, 'INSERT')
            AND has_table_privilege(to_regclass('lapse_deadline')::oid, 'UPDATE')
            AND has_table_privilege(to_regclass('lapse_deadline')::oid, 'DELETE')
            AND current_setting('transaction_isolation') <> 'serializable'
        THEN to_regclass('lapse_deadline')::oid::text
    END;

-- name: bound
-- For the order's transaction: an ALTER TABLE in another session must not delay the sale for long. As in the timer's
-- own sessions, the planner must not collect all pending rows because it expects few.
SELECT
    set_config('lapse.lock_timeout', current_setting('lock_timeout'), true),
    set_config('lapse.enable_bitmapscan', current_setting('enable_bitmapscan'), true),
    set_config('lock_timeout', '2s', true),
    set_config('enable_bitmapscan', 'off', true);

-- name: unbound
SELECT
    set_config('lock_timeout', current_setting('lapse.lock_timeout'), true),
    set_config('enable_bitmapscan', current_setting('lapse.enable_bitmapscan'), true);

-- name: arm
-- Waiting claims are notified of a deadline that is earlier than all known ones. They are also notified of a deadline that
-- is due within 10 s: it could pass before their next look if this transaction lasts for seconds.
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
known AS (
    SELECT visible FROM lapse_deadline
    WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL
    ORDER BY visible LIMIT 1
),
armed AS (
    INSERT INTO lapse_deadline (timer, key, due, visible)
    SELECT %(timer)s, key, due, due FROM json_to_recordset(%(items)s::json) AS given (key text, due bigint)
    ORDER BY key COLLATE "C"
    ON CONFLICT (timer, key) DO UPDATE SET
        due = excluded.due, visible = excluded.due, attempt = 0, leased_until = NULL, buried_at = NULL, reason = NULL
    RETURNING due
)
SELECT pg_notify('lapse_wake', %(timer)s)
WHERE (SELECT min(due) FROM armed)
    < greatest(coalesce((SELECT visible FROM known), 9223372036854775807), (SELECT now FROM moment) + 10000);

-- name: restore
WITH armed AS (
    INSERT INTO lapse_deadline (timer, key, due, visible)
    SELECT %(timer)s, key, due, due FROM json_to_recordset(%(items)s::json) AS given (key text, due bigint)
    ORDER BY key COLLATE "C"
    ON CONFLICT (timer, key) DO NOTHING
    RETURNING due
)
SELECT pg_notify('lapse_wake', %(timer)s) WHERE EXISTS (SELECT FROM armed);

-- name: disarm
WITH known AS (
    SELECT key FROM lapse_deadline
    WHERE timer = %(timer)s AND key IN (SELECT json_array_elements_text(%(items)s::json))
    ORDER BY key FOR UPDATE
)
DELETE FROM lapse_deadline AS d USING known WHERE d.timer = %(timer)s AND d.key = known.key RETURNING d.key;

-- name: look
SELECT
    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    least(
        (
            SELECT visible FROM lapse_deadline
            WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL
            ORDER BY visible LIMIT 1
        ),
        (SELECT min(leased_until) FROM lapse_deadline WHERE timer = %(timer)s AND leased_until IS NOT NULL)
    );

-- name: claim
-- One row more than the limit shows whether there is a backlog. Rows that others have locked at this moment are skipped.
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
old AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = %(timer)s AND buried_at IS NULL AND visible <= (SELECT now FROM moment)
        AND (leased_until IS NULL OR leased_until <= (SELECT now FROM moment))
    ORDER BY visible, key LIMIT %(limit)s + 1
    FOR UPDATE SKIP LOCKED
),
young AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = %(timer)s AND buried_at IS NULL AND visible <= (SELECT now FROM moment)
        AND (leased_until IS NULL OR leased_until <= (SELECT now FROM moment))
    ORDER BY visible DESC, key DESC
    LIMIT CASE WHEN (SELECT count(*) FROM old) > %(limit)s THEN %(young)s ELSE 0 END
    FOR UPDATE SKIP LOCKED
),
chosen AS (
    SELECT key, visible FROM young
    UNION ALL
    (
        SELECT key, visible FROM old WHERE key NOT IN (SELECT key FROM young)
        ORDER BY visible, key LIMIT %(limit)s - (SELECT count(*) FROM young)
    )
)
UPDATE lapse_deadline AS d SET
    visible = d.due,
    attempt = d.attempt + 1,
    token = (SELECT nextval('lapse_deadline_token')),
    leased_until = (SELECT now FROM moment) + %(lease)s
FROM chosen
WHERE d.timer = %(timer)s AND d.key = chosen.key
RETURNING d.key, d.due, d.attempt, d.token, (SELECT now FROM moment), d.leased_until;

-- name: renew
-- If another transaction has locked a row, it is taking the row from this claimant. It must not delay the other leases.
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS (
    SELECT d.key FROM lapse_deadline AS d
    JOIN json_to_recordset(%(items)s::json) AS given (key text, token bigint) ON d.key = given.key AND d.token = given.token
    WHERE d.timer = %(timer)s AND d.leased_until > (SELECT now FROM moment)
    ORDER BY d.key FOR UPDATE OF d SKIP LOCKED
)
UPDATE lapse_deadline AS d SET leased_until = (SELECT now FROM moment) + %(lease)s
FROM held WHERE d.timer = %(timer)s AND d.key = held.key
RETURNING d.key, d.leased_until;

-- name: settle
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS (
    SELECT d.key FROM lapse_deadline AS d
    JOIN json_to_recordset(%(items)s::json) AS given (key text, token bigint) ON d.key = given.key AND d.token = given.token
    WHERE d.timer = %(timer)s AND d.leased_until > (SELECT now FROM moment)
    ORDER BY d.key FOR UPDATE OF d
)
DELETE FROM lapse_deadline AS d USING held WHERE d.timer = %(timer)s AND d.key = held.key RETURNING d.key;

-- name: release
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS (
    SELECT d.key FROM lapse_deadline AS d
    JOIN json_to_recordset(%(items)s::json) AS given (key text, token bigint) ON d.key = given.key AND d.token = given.token
    WHERE d.timer = %(timer)s AND d.leased_until > (SELECT now FROM moment)
    ORDER BY d.key FOR UPDATE OF d
),
freed AS (
    UPDATE lapse_deadline AS d SET
        visible = CASE WHEN %(delay)s > 0 THEN (SELECT now FROM moment) + %(delay)s ELSE d.due END,
        attempt = d.attempt - %(forgiven)s,
        leased_until = NULL
    FROM held WHERE d.timer = %(timer)s AND d.key = held.key
    RETURNING d.key
)
SELECT key, pg_notify('lapse_wake', %(timer)s) FROM freed;

-- name: bury
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS (
    SELECT d.key FROM lapse_deadline AS d
    JOIN json_to_recordset(%(items)s::json) AS given (key text, token bigint) ON d.key = given.key AND d.token = given.token
    WHERE d.timer = %(timer)s AND d.leased_until > (SELECT now FROM moment)
    ORDER BY d.key FOR UPDATE OF d
)
UPDATE lapse_deadline AS d SET leased_until = NULL, buried_at = (SELECT now FROM moment), reason = %(reason)s
FROM held WHERE d.timer = %(timer)s AND d.key = held.key
RETURNING d.key;

-- name: buried
SELECT key, due, attempt, reason, buried_at FROM lapse_deadline
WHERE timer = %(timer)s AND buried_at IS NOT NULL AND key <> ''
ORDER BY buried_at, key LIMIT %(limit)s;

-- name: revive
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
dead AS (
    SELECT key FROM lapse_deadline
    WHERE timer = %(timer)s AND buried_at IS NOT NULL AND key IN (SELECT json_array_elements_text(%(items)s::json))
    ORDER BY key FOR UPDATE
),
revived AS (
    UPDATE lapse_deadline AS d SET
        visible = least(d.due, (SELECT now FROM moment)), attempt = 0, buried_at = NULL, reason = NULL
    FROM dead WHERE d.timer = %(timer)s AND d.key = dead.key
    RETURNING d.key
)
SELECT key, pg_notify('lapse_wake', %(timer)s) FROM revived;

-- name: stats
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
known AS (
    SELECT
        visible,
        buried_at IS NOT NULL AS is_buried,
        coalesce(leased_until > (SELECT now FROM moment), false) AS is_claimed,
        visible <= (SELECT now FROM moment) AS is_due
    FROM lapse_deadline WHERE timer = %(timer)s AND key <> ''
)
SELECT
    (SELECT now FROM moment),
    count(*) FILTER (WHERE NOT is_buried AND NOT is_claimed),
    count(*) FILTER (WHERE NOT is_buried AND NOT is_claimed AND is_due),
    count(*) FILTER (WHERE is_claimed),
    count(*) FILTER (WHERE is_buried),
    min(visible) FILTER (WHERE NOT is_buried AND NOT is_claimed AND is_due),
    min(visible) FILTER (WHERE NOT is_buried AND NOT is_claimed AND NOT is_due)
FROM known;

-- name: generation
-- The table's file changes when the table is truncated or restored. The timeline changes when another server takes over or
-- the database is restored to an earlier moment. A restart changes neither.
SELECT
    reason || '/' || 'lapse_deadline'::regclass::oid || '/' || pg_relation_filenode('lapse_deadline') || '/'
    || left(pg_walfile_name(pg_current_wal_lsn()), 8)
FROM lapse_deadline WHERE timer = %(timer)s AND key = '';

-- name: begin_generation
INSERT INTO lapse_deadline (timer, key, due, visible, buried_at, reason)
VALUES (%(timer)s, '', 0, 0, 0, %(generation)s) ON CONFLICT (timer, key) DO NOTHING;

-- name: settings
SELECT
    current_setting('server_version'),
    current_setting('fsync'),
    current_setting('synchronous_commit'),
    current_setting('server_encoding'),
    (SELECT relpersistence::text FROM pg_class WHERE oid = 'lapse_deadline'::regclass);
