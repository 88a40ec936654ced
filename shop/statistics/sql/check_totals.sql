-- Orders whose total is not the sum of their lines: order, found, expected.
SELECT orders.public_id, orders.total, COALESCE(sum(line.quantity * line.unit_price), 0)
FROM orders_order AS orders LEFT JOIN orders_line AS line ON line.order_id = orders.id
GROUP BY orders.id, orders.public_id, orders.total
HAVING orders.total <> COALESCE(sum(line.quantity * line.unit_price), 0)
ORDER BY orders.id
