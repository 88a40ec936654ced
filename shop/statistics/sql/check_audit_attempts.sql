-- Attempts whose trail does not tell their way: attempt, found, expected.
-- Each change begins where the one before it ended, and the last one ends with the attempt's state. What went back by
-- all entries together is what the attempt says. Attempts from before the trail had their numbers are left out.
WITH changes AS (
    SELECT subject_id, before, after,
           lag(after, 1, '') OVER (PARTITION BY subject_id ORDER BY id) AS ended,
           lead(id) OVER (PARTITION BY subject_id ORDER BY id) IS NULL AS last
    FROM orders_auditentry
    WHERE subject = 'attempt' AND subject_id <> '' AND before <> after
), trails AS (
    SELECT subject_id, count(*) FILTER (WHERE before <> ended) AS gaps, max(after) FILTER (WHERE last) AS state,
           (
               SELECT coalesce(sum(entry.refunded), 0) FROM orders_auditentry AS entry
               JOIN payments_paymentattempt AS attempt ON attempt.reference = entry.subject_id
               WHERE entry.order_id = attempt.order_id AND entry.subject_id = changes.subject_id
           ) AS refunded
    FROM changes
    GROUP BY subject_id
    HAVING bool_or(before = '')
)
SELECT attempt.reference, trails.gaps || ' gaps, last ' || trails.state || ', refunded ' || trails.refunded,
       '0 gaps, last ' || attempt.state || ', refunded ' || attempt.refunded
FROM payments_paymentattempt AS attempt
JOIN trails ON trails.subject_id = attempt.reference
WHERE (trails.gaps, trails.state, trails.refunded) IS DISTINCT FROM (0, attempt.state, attempt.refunded)
ORDER BY attempt.id
