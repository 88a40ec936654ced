-- Lets no transaction count until the end of this one, and waits for those that have counted and not yet committed.
LOCK TABLE figures_tally IN SHARE ROW EXCLUSIVE MODE
