-- Takes the stock that the orders hold out of the shop, because it is sold. For any number of orders at once.
-- orders bigint[]: primary keys; their rows are locked by the caller.
-- A reservation that is no longer held is skipped, so running the statement twice changes stock once.
-- Products are locked in the order of their id, as every statement on stock does.
WITH ended AS (
    UPDATE orders_reservation AS reservation SET state = 'consumed', ended_at = statement_timestamp()
    FROM orders_line AS line
    WHERE line.id = reservation.line_id AND line.order_id = ANY(%(orders)s::bigint[]) AND reservation.state = 'held'
    RETURNING line.product_id, line.quantity
), sums AS (
    SELECT product_id, sum(quantity) AS quantity FROM ended GROUP BY product_id
), locked AS MATERIALIZED (
    SELECT product.id, sums.quantity
    FROM catalogue_product AS product JOIN sums ON sums.product_id = product.id
    ORDER BY product.id
    FOR NO KEY UPDATE OF product
)
UPDATE catalogue_product AS product SET held = product.held - locked.quantity, on_hand = product.on_hand - locked.quantity
FROM locked
WHERE product.id = locked.id
