-- Orders unpaid past their deadline by more than the grace: order, found, expected.
-- grace interval
SELECT public_id, status, 'cancelled or paid by ' || (pay_by + %(grace)s)
FROM orders_order
WHERE status IN ('awaiting_payment', 'closing') AND pay_by < statement_timestamp() - %(grace)s
ORDER BY pay_by
