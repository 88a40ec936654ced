-- Writes some tallies, whose table the caller has locked. A tally of nothing is deleted.
-- days date[], events text[], counts bigint[], amounts numeric[]: of the same length, one element per tally.
WITH counted AS (
    SELECT day, event, count, amount
    FROM unnest(%(days)s::date[], %(events)s::text[], %(counts)s::bigint[], %(amounts)s::numeric[])
        AS counted (day, event, count, amount)
), removed AS (
    DELETE FROM figures_tally AS tally USING counted
    WHERE tally.day = counted.day AND tally.event = counted.event AND counted.count = 0
)
INSERT INTO figures_tally AS tally (day, event, count, amount)
SELECT day, event, count, amount FROM counted WHERE count > 0
ON CONFLICT (day, event) DO UPDATE SET count = EXCLUDED.count, amount = EXCLUDED.amount
