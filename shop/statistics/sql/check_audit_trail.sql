-- Orders whose audit trail does not have exactly one end, and one more for each reinstatement: order, found, expected.
SELECT orders.public_id, count(entry.id) || ' ends in the trail', expected.ends || ' ends: ' || orders.status
FROM orders_order AS orders
CROSS JOIN LATERAL (
    SELECT CASE WHEN orders.status IN ('paid', 'cancelled') THEN 1 ELSE 0 END
           + (SELECT count(*) FROM figures_reinstatement AS back WHERE back.order_id = orders.id) AS ends
) AS expected
LEFT JOIN orders_auditentry AS entry
    ON entry.order_id = orders.id AND (entry.what = 'paid' OR entry.what LIKE 'cancelled:%%')
GROUP BY orders.id, orders.public_id, orders.status, expected.ends
HAVING count(entry.id) <> expected.ends
ORDER BY orders.id
