-- Orders that should have lapsed and have not: their number, how many of them wait for a payment gateway's answer, and
-- their earliest deadline. Reads only the index of unpaid orders.
-- after interval: how long past its deadline an order is late, its grace included.
SELECT count(*), count(*) FILTER (WHERE status = 'closing'), min(pay_by)
FROM orders_order
WHERE status IN ('awaiting_payment', 'closing') AND pay_by < statement_timestamp() - %(after)s
