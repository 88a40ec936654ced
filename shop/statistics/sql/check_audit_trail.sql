-- Orders whose audit trail does not tell their way: order, found, expected.
-- Each entry of an order begins where the one before it ended, and the last one ends with the order's status. An order
-- ends once, and once more for each reinstatement.
WITH entries AS (
    SELECT order_id, id, what, before, after,
           lag(after, 1, '') OVER (PARTITION BY order_id ORDER BY id) AS ended,
           lead(id) OVER (PARTITION BY order_id ORDER BY id) IS NULL AS last
    FROM orders_auditentry
    WHERE subject = 'order' AND (before <> after OR what IN ('paid', 'cancelled'))
), trails AS (
    SELECT order_id,
           count(*) FILTER (WHERE what IN ('paid', 'cancelled')) AS ends,
           count(*) FILTER (WHERE before <> ended) AS gaps,
           max(after) FILTER (WHERE last) AS state
    FROM entries
    GROUP BY order_id
)
SELECT orders.public_id,
       coalesce(trails.ends, 0) || ' ends, ' || coalesce(trails.gaps, 0) || ' gaps, last '
           || coalesce(trails.state, 'nothing'),
       expected.ends || ' ends, 0 gaps, last ' || orders.status
FROM orders_order AS orders
CROSS JOIN LATERAL (
    SELECT CASE WHEN orders.status IN ('paid', 'cancelled') THEN 1 ELSE 0 END
           + (SELECT count(*) FROM figures_reinstatement AS back WHERE back.order_id = orders.id) AS ends
) AS expected
LEFT JOIN trails ON trails.order_id = orders.id
WHERE (trails.ends, trails.gaps, trails.state) IS DISTINCT FROM (expected.ends, 0, orders.status)
ORDER BY orders.id
