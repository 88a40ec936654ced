-- Days and events whose tally differs from the sum over the rows: day and event, found, expected; and, to write the
-- tally again, the day, the event, and the count and the amount that the rows have.
-- An order that was reinstated stays counted as cancelled; its cancel is in the row of the reinstatement.
WITH happened AS (
    SELECT placed_at AS at, 'placed' AS event, total AS amount FROM orders_order
    UNION ALL
    SELECT paid_at, 'paid', total FROM orders_order WHERE status = 'paid'
    UNION ALL
    SELECT cancelled_at, cancel_reason, total FROM orders_order WHERE status = 'cancelled'
    UNION ALL
    SELECT entry.cancelled_at, entry.reason, orders.total
    FROM figures_reinstatement AS entry JOIN orders_order AS orders ON orders.id = entry.order_id
    UNION ALL
    SELECT entry.at, 'reinstated', orders.total
    FROM figures_reinstatement AS entry JOIN orders_order AS orders ON orders.id = entry.order_id
    UNION ALL
    SELECT at, 'refunded', amount FROM figures_refund
), expected AS (
    SELECT (at AT TIME ZONE 'UTC')::date AS day, event, count(*) AS count, sum(amount) AS amount
    FROM happened GROUP BY 1, 2
)
SELECT day || ' ' || event,
       COALESCE(tally.count, 0) || ' worth ' || COALESCE(tally.amount, 0),
       COALESCE(expected.count, 0) || ' worth ' || COALESCE(expected.amount, 0),
       day, event, COALESCE(expected.count, 0), COALESCE(expected.amount, 0)
FROM expected FULL JOIN figures_tally AS tally USING (day, event)
WHERE COALESCE(tally.count, 0) <> COALESCE(expected.count, 0)
   OR COALESCE(tally.amount, 0) <> COALESCE(expected.amount, 0)
ORDER BY day, event
