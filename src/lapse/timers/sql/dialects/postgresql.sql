-- The statements of the timer in PostgreSQL, by name. Times are milliseconds since 1970 by the server's own clock.
-- Rows are locked in the order of their keys, or locked rows are skipped, so that no two statements wait for each other.
--
-- A statement reads what is due or asked for and no more. That does not depend on the table's statistics, which may be
-- missing, or older than all rows. So each form of access has one cheap plan, also by a wrong estimate:
--
-- * Given keys are looked up one by one: LATERAL with LIMIT 1 permits no join but a nested loop, by the primary key.
-- * Chosen rows are changed by `key = ANY (ARRAY(...))`. The planner always expects ten elements of such an array.
--   So it reads them by the primary key, however many rows it expects from the query inside.
-- * The primary key begins with the key. If it began with the timer, the planner could take the timer's rows for few, and
--   read all of them.
-- * Due rows are a range with two ends, up to a limit. (SELECT ...) hides the upper end and the limit from the planner. It
--   then expects one row of 200, and wants a tenth of these rows. To read an index in its order is cheapest for that.
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
    PRIMARY KEY (key, timer)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX IF NOT EXISTS lapse_deadline_pending ON lapse_deadline (timer, visible, key)
WHERE buried_at IS NULL AND leased_until IS NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_leased ON lapse_deadline (timer, leased_until, visible, key)
WHERE leased_until IS NOT NULL;

CREATE INDEX IF NOT EXISTS lapse_deadline_buried ON lapse_deadline (timer, buried_at, key) WHERE buried_at IS NOT NULL;

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
-- For the order's transaction: an ALTER TABLE in another session must not delay the sale for long.
SELECT
    set_config('lapse.lock_timeout', current_setting('lock_timeout'), true),
    set_config('lock_timeout', '2s', true);

-- name: unbound
SELECT set_config('lock_timeout', current_setting('lapse.lock_timeout'), true);

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
WITH known AS MATERIALIZED (
    SELECT d.key FROM json_array_elements_text(%(items)s::json) AS given (key)
    CROSS JOIN LATERAL (
        SELECT key FROM lapse_deadline WHERE timer = %(timer)s AND key = given.key LIMIT 1 FOR UPDATE
    ) AS d
)
DELETE FROM lapse_deadline WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM known)) RETURNING key;

-- name: look
SELECT
    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
    least(
        (
            SELECT visible FROM lapse_deadline
            WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL
            ORDER BY visible LIMIT 1
        ),
        (
            SELECT leased_until FROM lapse_deadline
            WHERE timer = %(timer)s AND leased_until IS NOT NULL
            ORDER BY leased_until LIMIT 1
        )
    );

-- name: claim
-- Rows whose leases have ended are claimed like pending rows, by their original due times. One row more than the limit shows
-- whether there is a backlog. Rows that others have locked at this moment are skipped.
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
ended AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = %(timer)s AND leased_until >= 0 AND leased_until <= (SELECT now FROM moment)
    ORDER BY leased_until, visible, key LIMIT (SELECT %(limit)s::bigint + 1)
    FOR UPDATE SKIP LOCKED
),
pending AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL
        AND visible >= -9223372036854775808 AND visible <= (SELECT now FROM moment)
    ORDER BY visible, key LIMIT (SELECT %(limit)s::bigint + 1)
    FOR UPDATE SKIP LOCKED
),
old AS MATERIALIZED (
    SELECT key, visible FROM ended
    UNION ALL
    SELECT key, visible FROM pending
    ORDER BY visible, key LIMIT (SELECT %(limit)s::bigint + 1)
),
young AS MATERIALIZED (
    SELECT key, visible FROM lapse_deadline
    WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL
        AND visible >= -9223372036854775808 AND visible <= (SELECT now FROM moment)
    ORDER BY visible DESC, key DESC
    LIMIT CASE WHEN (SELECT count(*) FROM old) > %(limit)s THEN %(young)s ELSE 0 END
    FOR UPDATE SKIP LOCKED
),
chosen AS MATERIALIZED (
    SELECT key FROM young
    UNION ALL
    (
        SELECT key FROM old WHERE key NOT IN (SELECT key FROM young)
        ORDER BY visible, key LIMIT %(limit)s - (SELECT count(*) FROM young)
    )
)
UPDATE lapse_deadline SET
    visible = due,
    attempt = attempt + 1,
    token = (SELECT nextval('lapse_deadline_token')),
    leased_until = (SELECT now FROM moment) + %(lease)s
WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM chosen))
RETURNING key, due, attempt, token, (SELECT now FROM moment), leased_until;

-- name: renew
-- If another transaction has locked a row, it is taking the row from this claimant. It must not delay the other leases.
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS MATERIALIZED (
    SELECT d.key FROM json_to_recordset(%(items)s::json) AS given (key text, token bigint)
    CROSS JOIN LATERAL (
        SELECT key, token, leased_until FROM lapse_deadline
        WHERE timer = %(timer)s AND key = given.key LIMIT 1 FOR UPDATE SKIP LOCKED
    ) AS d
    WHERE d.token = given.token AND d.leased_until > (SELECT now FROM moment)
)
UPDATE lapse_deadline SET leased_until = (SELECT now FROM moment) + %(lease)s
WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM held))
RETURNING key, leased_until;

-- name: settle
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS MATERIALIZED (
    SELECT d.key FROM json_to_recordset(%(items)s::json) AS given (key text, token bigint)
    CROSS JOIN LATERAL (
        SELECT key, token, leased_until FROM lapse_deadline
        WHERE timer = %(timer)s AND key = given.key LIMIT 1 FOR UPDATE
    ) AS d
    WHERE d.token = given.token AND d.leased_until > (SELECT now FROM moment)
)
DELETE FROM lapse_deadline WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM held)) RETURNING key;

-- name: release
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS MATERIALIZED (
    SELECT d.key FROM json_to_recordset(%(items)s::json) AS given (key text, token bigint)
    CROSS JOIN LATERAL (
        SELECT key, token, leased_until FROM lapse_deadline
        WHERE timer = %(timer)s AND key = given.key LIMIT 1 FOR UPDATE
    ) AS d
    WHERE d.token = given.token AND d.leased_until > (SELECT now FROM moment)
),
freed AS (
    UPDATE lapse_deadline SET
        visible = CASE WHEN %(delay)s > 0 THEN (SELECT now FROM moment) + %(delay)s ELSE due END,
        attempt = attempt - %(forgiven)s,
        leased_until = NULL
    WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM held))
    RETURNING key
)
SELECT key, pg_notify('lapse_wake', %(timer)s) FROM freed;

-- name: bury
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
held AS MATERIALIZED (
    SELECT d.key FROM json_to_recordset(%(items)s::json) AS given (key text, token bigint)
    CROSS JOIN LATERAL (
        SELECT key, token, leased_until FROM lapse_deadline
        WHERE timer = %(timer)s AND key = given.key LIMIT 1 FOR UPDATE
    ) AS d
    WHERE d.token = given.token AND d.leased_until > (SELECT now FROM moment)
)
UPDATE lapse_deadline SET leased_until = NULL, buried_at = (SELECT now FROM moment), reason = %(reason)s
WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM held))
RETURNING key;

-- name: names
SELECT DISTINCT timer FROM lapse_deadline ORDER BY timer;

-- name: buried
SELECT key, due, attempt, reason, buried_at FROM lapse_deadline
WHERE timer = %(timer)s AND buried_at IS NOT NULL AND key <> ''
ORDER BY buried_at, key LIMIT %(limit)s;

-- name: revive
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
dead AS MATERIALIZED (
    SELECT d.key FROM json_array_elements_text(%(items)s::json) AS given (key)
    CROSS JOIN LATERAL (
        SELECT key, buried_at FROM lapse_deadline WHERE timer = %(timer)s AND key = given.key LIMIT 1 FOR UPDATE
    ) AS d
    WHERE d.buried_at IS NOT NULL
),
revived AS (
    UPDATE lapse_deadline SET
        visible = least(due, (SELECT now FROM moment)), attempt = 0, buried_at = NULL, reason = NULL
    WHERE timer = %(timer)s AND key = ANY (ARRAY(SELECT key FROM dead))
    RETURNING key
)
SELECT key, pg_notify('lapse_wake', %(timer)s) FROM revived;

-- name: stats
WITH moment AS MATERIALIZED (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now),
known AS (
    SELECT visible, visible <= (SELECT now FROM moment) AS is_due, false AS is_claimed, false AS is_buried
    FROM lapse_deadline WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL
    UNION ALL
    SELECT visible, visible <= (SELECT now FROM moment), leased_until > (SELECT now FROM moment), false
    FROM lapse_deadline WHERE timer = %(timer)s AND leased_until IS NOT NULL
    UNION ALL
    SELECT visible, false, false, true
    FROM lapse_deadline WHERE timer = %(timer)s AND buried_at IS NOT NULL AND key <> ''
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
    (SELECT relpersistence::text FROM pg_class WHERE oid = 'lapse_deadline'::regclass),
    to_regclass('lapse_deadline_pending') IS NOT NULL,
    coalesce((SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'lapse_deadline'::regclass), 0);
