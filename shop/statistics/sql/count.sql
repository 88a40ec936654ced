-- Adds to the tallies. One statement for any number of them.
-- days date[], events text[], counts bigint[], amounts numeric[]: of the same length, one element per tally.
-- Rows are locked in one order, so that two transactions with the same tallies never deadlock.
INSERT INTO figures_tally AS tally (day, event, count, amount)
SELECT day, event, count, amount
FROM unnest(%(days)s::date[], %(events)s::text[], %(counts)s::bigint[], %(amounts)s::numeric[])
    AS added (day, event, count, amount)
ORDER BY day, event
ON CONFLICT (day, event) DO UPDATE
SET count = tally.count + EXCLUDED.count, amount = tally.amount + EXCLUDED.amount
