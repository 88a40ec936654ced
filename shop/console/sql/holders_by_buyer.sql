-- Who holds what in unpaid orders: a row per buyer, with what of the buyer's orders lapsed before.
-- within interval: how long a lapsed order counts. sort text: pieces, orders, until or lapsed; most int.
WITH held AS (
    SELECT orders.buyer_id, orders.id, orders.pay_by, sum(line.quantity) AS pieces, sum(line.quantity * line.unit_price) AS worth
    FROM orders_order AS orders JOIN orders_line AS line ON line.order_id = orders.id
    WHERE orders.status IN ('awaiting_payment', 'closing')
    GROUP BY orders.id
), holders AS (
    SELECT buyer_id, count(*) AS orders, sum(pieces) AS pieces, sum(worth) AS worth, max(pay_by) AS until
    FROM held
    GROUP BY buyer_id
), with_lapsed AS (
    SELECT holders.*, buyer.username, buyer.email, (
        SELECT count(*) FROM orders_order AS ended
        WHERE ended.buyer_id = holders.buyer_id AND ended.status = 'cancelled' AND ended.cancel_reason = 'expired'
          AND ended.cancelled_at > statement_timestamp() - %(within)s::interval
    ) AS lapsed
    FROM holders JOIN auth_user AS buyer ON buyer.id = holders.buyer_id
)
SELECT username, email, pieces, orders, worth, until, lapsed
FROM with_lapsed
ORDER BY CASE %(sort)s WHEN 'orders' THEN orders WHEN 'lapsed' THEN lapsed WHEN 'until' THEN extract(epoch FROM until)
         ELSE pieces END DESC, pieces DESC, username
LIMIT %(most)s
