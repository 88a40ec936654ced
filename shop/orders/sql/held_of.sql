-- How many pieces of each of these products one buyer holds in unpaid orders that are not overdue.
-- buyer bigint, grace interval, skus text[]. Returns a row per SKU that exists: sku, on hand, held by the buyer.
SELECT product.sku, product.on_hand, coalesce(sum(line.quantity), 0)
FROM catalogue_product AS product
LEFT JOIN (
    orders_line AS line
    JOIN orders_order AS orders
        ON orders.id = line.order_id AND orders.buyer_id = %(buyer)s AND orders.status IN ('awaiting_payment', 'closing')
        AND orders.pay_by + %(grace)s::interval > statement_timestamp()
) ON line.product_id = product.id
WHERE product.sku = ANY(%(skus)s::text[])
GROUP BY product.id
