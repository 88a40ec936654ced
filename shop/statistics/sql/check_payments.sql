-- Orders whose payments do not hold what they must: a paid order's total less its refunds, and nothing for any other
-- order. Order, found, expected. Money to be refunded or reviewed, or written off, is not an
-- order's, and counts in check_attempts.
SELECT public_id, 'payments hold ' || kept, 'payments hold ' || due || ': the order is ' || status
FROM (
    SELECT orders.id, orders.public_id, orders.status,
           COALESCE(payments.kept, 0) AS kept,
           CASE orders.status WHEN 'paid' THEN orders.total ELSE 0 END - COALESCE(refunds.amount, 0) AS due
    FROM orders_order AS orders
    LEFT JOIN (
        SELECT order_id, sum(paid - refunded) AS kept
        FROM payments_paymentattempt WHERE state = 'succeeded' GROUP BY order_id
    ) AS payments ON payments.order_id = orders.id
    LEFT JOIN (
        SELECT order_id, sum(amount) AS amount FROM figures_refund GROUP BY order_id
    ) AS refunds ON refunds.order_id = orders.id
) AS sums
WHERE kept <> due
ORDER BY id
