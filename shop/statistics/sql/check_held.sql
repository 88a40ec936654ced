-- Products whose `held` is not the sum of their held reservations: sku, found, expected, and the pieces on hand.
SELECT product.sku, product.held, COALESCE(sums.held, 0), product.on_hand
FROM catalogue_product AS product
LEFT JOIN (
    SELECT line.product_id, sum(line.quantity) AS held
    FROM orders_reservation AS reservation JOIN orders_line AS line ON line.id = reservation.line_id
    WHERE reservation.state = 'held'
    GROUP BY line.product_id
) AS sums ON sums.product_id = product.id
WHERE product.held <> COALESCE(sums.held, 0)
ORDER BY product.id
