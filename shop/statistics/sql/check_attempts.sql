-- Attempts whose state hides money, or promises money that is not there: attempt, found, expected.
-- "orphaned" is what is stored for a refund that is due, and "kept" for money that was written off with a reason.
SELECT reference,
       state || ', ' || COALESCE(paid::text, 'nothing') || ' paid, ' || refunded || ' refunded',
       CASE
           WHEN paid IS NULL THEN 'no refund without a payment, and no money in this state'
           WHEN refunded NOT BETWEEN 0 AND paid THEN 'refunded: from 0 to what was paid'
           WHEN state = 'refunded' THEN 'all of it refunded'
           WHEN refunded = paid THEN 'refunded: all of it went back'
           WHEN state = 'kept' THEN 'a reason why it was written off'
           ELSE 'succeeded, refund due, in review, or written off: there is money'
       END
FROM payments_paymentattempt
WHERE CASE
    WHEN paid IS NULL THEN refunded <> 0 OR state IN ('succeeded', 'orphaned', 'review', 'kept', 'refunded')
    WHEN refunded NOT BETWEEN 0 AND paid THEN TRUE
    WHEN refunded = paid THEN state <> 'refunded'
    ELSE state NOT IN ('succeeded', 'orphaned', 'review', 'kept') OR (state = 'kept' AND written_off = '')
END
ORDER BY id
