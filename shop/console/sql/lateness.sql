-- The lateness of recently expired orders by the database's clock, in milliseconds: count, p50, p99, maximum.
-- within interval: how far to look back. grace interval: how long after its deadline an order lapses.
SELECT count(*),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY late),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY late),
       max(late)
FROM (
    SELECT extract(epoch FROM cancelled_at - pay_by - %(grace)s) * 1000 AS late
    FROM orders_order
    WHERE status = 'cancelled' AND cancel_reason = 'expired' AND cancelled_at >= statement_timestamp() - %(within)s
) AS expired
