-- Adds an entry to the audit trail of each of these orders: from the status that it had to the status that it has.
-- orders bigint[], before text[], after text[], amounts numeric[]: of the same length. The rest is the same for all.
INSERT INTO orders_auditentry
    (order_id, at, what, subject, subject_id, before, after, reason, actor, actor_id, amount, refunded, detail)
SELECT changed.id, statement_timestamp(), %(what)s, 'order', '', changed.before, changed.after, %(reason)s,
       %(actor)s, %(actor_id)s, changed.amount, NULL, %(detail)s
FROM unnest(%(orders)s::bigint[], %(before)s::text[], %(after)s::text[], %(amounts)s::numeric[])
    AS changed (id, before, after, amount)
