-- Orders unpaid longer past their deadline than they may be: order, found, expected.
-- overdue_after interval: the shop's grace, and how late a lapse may be.
SELECT public_id, status, 'cancelled or paid by ' || (pay_by + %(overdue_after)s)
FROM orders_order
WHERE status IN ('awaiting_payment', 'closing') AND pay_by < statement_timestamp() - %(overdue_after)s
ORDER BY pay_by
