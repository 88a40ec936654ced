-- Lets no transaction change the stock of any product until the end of this one.
-- Rows are locked in the order of their id, as every statement on stock does, so that no two deadlock.
SELECT id FROM catalogue_product ORDER BY id FOR NO KEY UPDATE
