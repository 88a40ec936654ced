-- Order lines without exactly the reservation that their order's status requires: order, found, expected.
SELECT orders.public_id,
       COALESCE(string_agg(reservation.state, ', ' ORDER BY reservation.id), 'no reservation'),
       required.state
FROM orders_order AS orders
CROSS JOIN LATERAL (
    SELECT CASE orders.status WHEN 'paid' THEN 'consumed' WHEN 'cancelled' THEN 'released' ELSE 'held' END AS state
) AS required
JOIN orders_line AS line ON line.order_id = orders.id
LEFT JOIN orders_reservation AS reservation ON reservation.line_id = line.id
GROUP BY orders.id, orders.public_id, line.id, required.state
HAVING count(*) FILTER (WHERE reservation.state = required.state) = 0
    OR count(*) FILTER (WHERE reservation.state NOT IN (required.state, 'released')) > 0
ORDER BY orders.id
