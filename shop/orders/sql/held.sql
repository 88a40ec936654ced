-- What one buyer holds in unpaid orders, and how many of the buyer's orders lapsed lately: one row.
-- buyer bigint; grace, within interval. An order counts as overdue once it may lapse, by this database's clock.
-- Lapsed orders count from the last payment on, and not where money came after all.
WITH unpaid AS (
    SELECT id, pay_by + %(grace)s::interval <= statement_timestamp() AS overdue
    FROM orders_order
    WHERE buyer_id = %(buyer)s AND status IN ('awaiting_payment', 'closing')
), lapsed AS (
    SELECT cancelled_at
    FROM orders_order AS ended
    WHERE buyer_id = %(buyer)s AND status = 'cancelled' AND cancel_reason = 'expired'
      AND cancelled_at > statement_timestamp() - %(within)s::interval
      AND cancelled_at > coalesce(
          (SELECT max(paid_at) FROM orders_order WHERE buyer_id = %(buyer)s AND status = 'paid'), '-infinity'
      )
      AND NOT EXISTS (
          SELECT FROM payments_paymentattempt AS attempt WHERE attempt.order_id = ended.id AND attempt.paid IS NOT NULL
      )
)
SELECT statement_timestamp(),
       (SELECT count(*) FROM unpaid WHERE NOT overdue),
       (SELECT count(*) FROM unpaid WHERE overdue),
       (
           SELECT coalesce(sum(line.quantity), 0)
           FROM orders_line AS line JOIN unpaid ON unpaid.id = line.order_id AND NOT unpaid.overdue
       ),
       (SELECT count(*) FROM lapsed),
       (SELECT max(cancelled_at) FROM lapsed)
