-- Attempts that may still be paid although their order ended longer ago than the grace: attempt, found, expected.
-- grace interval: what reconciling needs to close an attempt of an order that another attempt has paid.
SELECT attempt.reference,
       attempt.state || ', and order ' || orders.public_id || ' was ' || orders.status || ' at ' || ended.at,
       'closed at gateway ' || attempt.gateway
FROM payments_paymentattempt AS attempt
JOIN orders_order AS orders ON orders.id = attempt.order_id
CROSS JOIN LATERAL (
    SELECT CASE orders.status WHEN 'paid' THEN orders.paid_at WHEN 'cancelled' THEN orders.cancelled_at END AS at
) AS ended
WHERE attempt.state IN ('created', 'pending', 'unknown')
  AND GREATEST(ended.at, attempt.made_at) < statement_timestamp() - %(grace)s AND ended.at IS NOT NULL
ORDER BY attempt.id
