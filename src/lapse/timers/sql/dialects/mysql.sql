-- The statements of the timer in MySQL or MariaDB, by name. Times are milliseconds since 1970 by the server's own
-- clock: the moment at which a statement begins, in UTC. So time zones and summer time have no effect. Every statement
-- is a separate transaction, because a program that freezes in a transaction keeps its rows locked. Rows are locked in
-- the order of their keys, or locked rows are skipped, so that no two statements wait for each other. Keys are sent as
-- hexadecimal digits and stored as bytes. So no connection's character set, collation or quoting has an effect.
--
-- A statement reads what is due or asked for and no more, also where the optimizer expects wrong numbers of rows. Rows
-- that are read in the order of an index name this index. Given and chosen keys come first in a STRAIGHT_JOIN, and their
-- rows are looked up by the primary key.
--
-- A row is buried if buried_at is set, claimed if leased_until is in the future, otherwise pending. The row with the
-- empty key has the generation of its timer in the column reason and the latest token. If
-- the table is emptied, this row is lost together with the deadlines.

-- name: session
-- No gaps between rows are locked. The server's time zone and SQL mode have no effect. Statements wait for locks only
-- briefly. A connection may stay idle for a night.
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;

SET
    SESSION time_zone = '+00:00',
    SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION',
    SESSION innodb_lock_wait_timeout = %(seconds)s,
    SESSION lock_wait_timeout = %(seconds)s,
    SESSION wait_timeout = 31536000;

-- name: exists
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'lapse_deadline';

-- name: schema
-- MySQL has no partial indexes, so one index serves all states. The pending, the leased and the buried rows are each one
-- range of the index, in the order in which they are read.
CREATE TABLE IF NOT EXISTS lapse_deadline (
    timer VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    `key` VARBINARY(512) NOT NULL,
    due BIGINT NOT NULL,
    visible BIGINT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    token BIGINT NOT NULL DEFAULT 0,
    leased_until BIGINT,
    buried_at BIGINT,
    reason MEDIUMTEXT CHARACTER SET utf8mb4,
    PRIMARY KEY (timer, `key`),
    INDEX lapse_deadline_state (timer, buried_at, leased_until, visible, `key`)
) ENGINE = InnoDB;

-- name: drop
DROP TABLE IF EXISTS lapse_deadline;

-- name: location
-- No two servers of one machine have the same data directory.
SELECT
    CONCAT_WS('/', @@hostname, @@port, @@server_id, @@datadir, DATABASE()),
    (
        SELECT COUNT(*) FROM information_schema.tables
        WHERE table_schema = DATABASE() AND table_name = 'lapse_deadline'
    );

-- name: try_to_write
-- These statements change nothing, but fail without permission to change the table.
INSERT INTO lapse_deadline (timer, `key`, due, visible)
SELECT timer, `key`, due, visible FROM lapse_deadline WHERE FALSE
ON DUPLICATE KEY UPDATE due = VALUES(due);

DELETE FROM lapse_deadline WHERE FALSE;

-- name: bound
-- For the order's transaction: another transaction that locks the row or the table must not delay the sale for long.
SET
    @lapse_rows = @@SESSION.innodb_lock_wait_timeout,
    @lapse_table = @@SESSION.lock_wait_timeout,
    SESSION innodb_lock_wait_timeout = 2,
    SESSION lock_wait_timeout = 2;

-- name: unbound
SET SESSION innodb_lock_wait_timeout = @lapse_rows, SESSION lock_wait_timeout = @lapse_table;

-- name: arm
INSERT INTO lapse_deadline (timer, `key`, due, visible)
SELECT %(timer)s, UNHEX(given.`key`), given.due, given.due
FROM JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', due BIGINT PATH '$.due')) AS given
ON DUPLICATE KEY UPDATE
    due = VALUES(due), visible = VALUES(visible), attempt = 0, leased_until = NULL, buried_at = NULL, reason = NULL;

-- name: restore
-- An existing row is set to its own value, which changes nothing. Unlike IGNORE, this hides no error.
INSERT INTO lapse_deadline (timer, `key`, due, visible)
SELECT %(timer)s, UNHEX(given.`key`), given.due, given.due
FROM JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', due BIGINT PATH '$.due')) AS given
ON DUPLICATE KEY UPDATE token = lapse_deadline.token;

-- name: disarm
DELETE d
FROM JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`);

-- name: look
SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000, MIN(at) FROM (
    (
        SELECT visible AS at FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
        WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL ORDER BY visible LIMIT 1
    )
    UNION ALL
    (
        SELECT leased_until FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
        WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NOT NULL ORDER BY leased_until LIMIT 1
    )
) AS upcoming;

-- name: claim
-- First a token. A claimant that is delayed after this statement takes no row that was claimed under a later token.
INSERT INTO lapse_deadline (timer, `key`, due, visible, buried_at, reason, token)
VALUES (
    %(timer)s, '', 0, 0, 0, %(generation)s,
    LAST_INSERT_ID(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)))
)
ON DUPLICATE KEY UPDATE token = LAST_INSERT_ID(GREATEST(token + 1, VALUES(token)));

SELECT LAST_INSERT_ID(), TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000
INTO @lapse_token, @lapse_now;

-- Rows whose leases have ended are pending again, with their original due times.
UPDATE (
    SELECT `key` AS ended FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
    WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until <= @lapse_now
    ORDER BY leased_until LIMIT %(most)s FOR UPDATE SKIP LOCKED
) AS chosen
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = chosen.ended
SET d.leased_until = NULL
WHERE d.leased_until <= @lapse_now;

-- The oldest rows first. The rest of the limit is filled from the newest; without a backlog these are the remaining rows.
-- Rows that other claimants have locked at this moment are skipped.
UPDATE (
    SELECT `key` AS oldest FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
    WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL AND visible <= @lapse_now
    ORDER BY visible, `key` LIMIT %(old)s FOR UPDATE SKIP LOCKED
) AS chosen
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = chosen.oldest
SET d.visible = d.due, d.attempt = d.attempt + 1, d.token = @lapse_token, d.leased_until = @lapse_now + %(lease)s
WHERE d.buried_at IS NULL AND d.leased_until IS NULL AND d.visible <= @lapse_now AND d.token < @lapse_token;

UPDATE (
    SELECT `key` AS youngest FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
    WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until IS NULL AND visible <= @lapse_now
    ORDER BY visible DESC, `key` DESC LIMIT %(young)s FOR UPDATE SKIP LOCKED
) AS chosen
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = chosen.youngest
SET d.visible = d.due, d.attempt = d.attempt + 1, d.token = @lapse_token, d.leased_until = @lapse_now + %(lease)s
WHERE d.buried_at IS NULL AND d.leased_until IS NULL AND d.visible <= @lapse_now AND d.token < @lapse_token;

SELECT CONVERT(`key` USING utf8mb4), due, attempt, token, @lapse_now, leased_until
FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
WHERE timer = %(timer)s AND buried_at IS NULL AND leased_until = @lapse_now + %(lease)s AND token = @lapse_token;

-- name: renew
UPDATE JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', token BIGINT PATH '$.token')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`) AND d.token = given.token
SET d.leased_until = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000 + %(lease)s
WHERE d.leased_until > TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000;

SELECT CONVERT(d.`key` USING utf8mb4), d.leased_until
FROM JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', token BIGINT PATH '$.token')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`) AND d.token = given.token
WHERE d.leased_until > TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000;

-- name: settle
DELETE d
FROM JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', token BIGINT PATH '$.token')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`) AND d.token = given.token
WHERE d.leased_until > TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000;

-- name: release
UPDATE JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', token BIGINT PATH '$.token')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`) AND d.token = given.token
SET
    d.visible = CASE
        WHEN %(delay)s > 0 THEN TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000 + %(delay)s
        ELSE d.due
    END,
    d.attempt = d.attempt - %(forgiven)s,
    d.leased_until = NULL
WHERE d.leased_until > TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000;

-- name: bury
UPDATE JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key', token BIGINT PATH '$.token')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`) AND d.token = given.token
SET
    d.leased_until = NULL,
    d.buried_at = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000,
    d.reason = %(reason)s
WHERE d.leased_until > TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000;

-- name: names
SELECT DISTINCT timer FROM lapse_deadline ORDER BY timer;

-- name: buried
-- In the order of the index, so that no more rows than the limit are read.
SELECT CONVERT(`key` USING utf8mb4), due, attempt, reason, buried_at
FROM lapse_deadline FORCE INDEX (lapse_deadline_state)
WHERE timer = %(timer)s AND buried_at IS NOT NULL AND `key` <> ''
ORDER BY buried_at, leased_until, visible, `key` LIMIT %(limit)s;

-- name: revive
UPDATE JSON_TABLE(%(items)s, '$[*]' COLUMNS (`key` VARCHAR(1024) PATH '$.key')) AS given
STRAIGHT_JOIN lapse_deadline AS d ON d.timer = %(timer)s AND d.`key` = UNHEX(given.`key`)
SET
    d.visible = LEAST(d.due, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000),
    d.attempt = 0,
    d.buried_at = NULL,
    d.reason = NULL
WHERE d.buried_at IS NOT NULL;

-- name: stats
SELECT
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000,
    COUNT(CASE WHEN NOT is_buried AND NOT is_claimed THEN 1 END),
    COUNT(CASE WHEN NOT is_buried AND NOT is_claimed AND is_due THEN 1 END),
    COUNT(CASE WHEN is_claimed THEN 1 END),
    COUNT(CASE WHEN is_buried THEN 1 END),
    MIN(CASE WHEN NOT is_buried AND NOT is_claimed AND is_due THEN visible END),
    MIN(CASE WHEN NOT is_buried AND NOT is_claimed AND NOT is_due THEN visible END)
FROM (
    SELECT
        visible,
        buried_at IS NOT NULL AS is_buried,
        COALESCE(leased_until > TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000, 0) AS is_claimed,
        visible <= TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000 AS is_due
    FROM lapse_deadline WHERE timer = %(timer)s AND `key` <> ''
) AS known;

-- name: generation
-- The time changes when the table is created again, the number when another server takes over. A restart changes neither.
SELECT CONCAT_WS('/', d.reason, t.create_time, @@server_id)
FROM lapse_deadline AS d
JOIN information_schema.tables AS t ON t.table_schema = DATABASE() AND t.table_name = 'lapse_deadline'
WHERE d.timer = %(timer)s AND d.`key` = '';

-- name: begin_generation
INSERT INTO lapse_deadline (timer, `key`, due, visible, buried_at, reason)
VALUES (%(timer)s, '', 0, 0, 0, %(generation)s)
ON DUPLICATE KEY UPDATE token = lapse_deadline.token;

-- name: settings
SHOW GLOBAL VARIABLES WHERE variable_name IN (
    'version', 'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'log_bin', 'binlog_format', 'max_allowed_packet'
);

-- name: engine
SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'lapse_deadline';
