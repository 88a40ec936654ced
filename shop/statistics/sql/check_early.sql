-- Orders that expired before their deadline: order, found, expected.
SELECT public_id, cancelled_at, 'not before ' || pay_by
FROM orders_order
WHERE status = 'cancelled' AND cancel_reason = 'expired' AND cancelled_at < pay_by
ORDER BY pay_by
