-- Attempts that may have money, or whose money must go back, and about which the gateway is never asked again: attempt,
-- found, expected. "orphaned" is what is stored for a refund that is due: without a time it is never refunded.
SELECT reference, state || ' and never asked about again', 'a time at which gateway ' || gateway || ' is asked'
FROM payments_paymentattempt
WHERE ask_at IS NULL AND state IN ('created', 'pending', 'unknown', 'orphaned', 'review')
ORDER BY id
