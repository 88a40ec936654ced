-- Days and events whose tally differs from the sum over the orders: day and event, found, expected.
WITH happened AS (
    SELECT placed_at AS at, 'placed' AS event, total FROM orders_order
    UNION ALL
    SELECT paid_at, 'paid', total FROM orders_order WHERE status = 'paid'
    UNION ALL
    SELECT cancelled_at, cancel_reason, total FROM orders_order WHERE status = 'cancelled'
), expected AS (
    SELECT (at AT TIME ZONE 'UTC')::date AS day, event, count(*) AS count, sum(total) AS amount
    FROM happened GROUP BY 1, 2
)
SELECT day || ' ' || event,
       COALESCE(tally.count, 0) || ' worth ' || COALESCE(tally.amount, 0),
       COALESCE(expected.count, 0) || ' worth ' || COALESCE(expected.amount, 0)
FROM expected FULL JOIN figures_tally AS tally USING (day, event)
WHERE COALESCE(tally.count, 0) <> COALESCE(expected.count, 0)
   OR COALESCE(tally.amount, 0) <> COALESCE(expected.amount, 0)
ORDER BY day, event
