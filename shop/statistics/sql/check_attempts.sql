-- Attempts whose state hides money, or promises money that is not there: attempt, found, expected.
-- "orphaned" is what is stored for a refund that is due.
SELECT reference,
       state || ', ' || COALESCE(paid::text, 'nothing') || ' paid, ' || refunded || ' refunded',
       CASE
           WHEN paid IS NULL THEN 'no refund without a payment, and no money in this state'
           WHEN refunded NOT BETWEEN 0 AND paid THEN 'refunded: from 0 to what was paid'
           WHEN state = 'refunded' THEN 'all of it refunded'
           WHEN refunded = paid THEN 'refunded: all of it went back'
           ELSE 'succeeded, refund due, or in review: there is money'
       END
FROM payments_paymentattempt
WHERE CASE
    WHEN paid IS NULL THEN refunded <> 0 OR state IN ('succeeded', 'orphaned', 'review', 'refunded')
    WHEN refunded NOT BETWEEN 0 AND paid THEN TRUE
    WHEN refunded = paid THEN state <> 'refunded'
    ELSE state NOT IN ('succeeded', 'orphaned', 'review')
END
ORDER BY id
