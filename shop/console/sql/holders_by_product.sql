-- Who holds what in unpaid orders: a row per product that is held, with the buyer who holds most of it.
-- sort text: pieces, orders, until or largest.
WITH held AS (
    SELECT line.product_id, orders.buyer_id, count(*) AS orders, sum(line.quantity) AS pieces, max(orders.pay_by) AS until
    FROM orders_order AS orders JOIN orders_line AS line ON line.order_id = orders.id
    WHERE orders.status IN ('awaiting_payment', 'closing')
    GROUP BY line.product_id, orders.buyer_id
), products AS (
    SELECT product_id, sum(pieces) AS pieces, sum(orders) AS orders, count(*) AS buyers, max(until) AS until,
           max(pieces) AS largest, (array_agg(buyer_id ORDER BY pieces DESC, buyer_id))[1] AS largest_buyer
    FROM held
    GROUP BY product_id
)
SELECT product.sku, product.on_hand, products.pieces, products.orders, products.buyers, products.until, products.largest,
       buyer.username, buyer.email
FROM products
JOIN catalogue_product AS product ON product.id = products.product_id
JOIN auth_user AS buyer ON buyer.id = products.largest_buyer
ORDER BY CASE %(sort)s WHEN 'orders' THEN products.orders WHEN 'largest' THEN products.largest
         WHEN 'until' THEN extract(epoch FROM products.until) ELSE products.pieces END DESC, products.pieces DESC, product.sku
