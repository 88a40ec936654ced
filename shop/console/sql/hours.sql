-- How many orders were placed, paid and expired in each hour of one day: hour (0 to 23, UTC), event, count.
-- since, until timestamptz: the day's ends. Each part reads a range of one index, but for the few reinstatements, which
-- keep the cancels that they undid.
SELECT extract(hour FROM placed_at AT TIME ZONE 'UTC')::int, 'placed', count(*)
FROM orders_order WHERE placed_at >= %(since)s AND placed_at < %(until)s GROUP BY 1
UNION ALL
SELECT extract(hour FROM paid_at AT TIME ZONE 'UTC')::int, 'paid', count(*)
FROM orders_order WHERE status = 'paid' AND paid_at >= %(since)s AND paid_at < %(until)s GROUP BY 1
UNION ALL
SELECT extract(hour FROM cancelled_at AT TIME ZONE 'UTC')::int, 'expired', count(*)
FROM (
    SELECT cancelled_at FROM orders_order
    WHERE status = 'cancelled' AND cancel_reason = 'expired' AND cancelled_at >= %(since)s AND cancelled_at < %(until)s
    UNION ALL
    SELECT cancelled_at FROM figures_reinstatement
    WHERE reason = 'expired' AND cancelled_at >= %(since)s AND cancelled_at < %(until)s
) AS expired
GROUP BY 1
