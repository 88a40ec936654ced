-- Products whose `held` is not the sum of their held reservations: sku, found, expected.
SELECT product.sku, product.held, COALESCE(sums.held, 0)
FROM catalogue_product AS product
LEFT JOIN (
    SELECT line.product_id, sum(line.quantity) AS held
    FROM orders_reservation AS reservation JOIN orders_line AS line ON line.id = reservation.line_id
    WHERE reservation.state = 'held'
    GROUP BY line.product_id
) AS sums ON sums.product_id = product.id
WHERE product.held <> COALESCE(sums.held, 0)
ORDER BY product.id
