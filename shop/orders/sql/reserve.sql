-- Holds stock for one order: all of it or, if the caller rolls back, none.
-- skus text[], quantities int[]: of the same length, each SKU once.
-- Returns a row per SKU that exists: id, sku, price, available before, whether it was held.
-- Rows are locked in the order of their id, as every statement on stock does, so that no two deadlock. The
-- condition and the sum are computed again on the newest row once it is locked: two buyers cannot get the last piece.
WITH wanted AS (
    SELECT sku, quantity FROM unnest(%(skus)s::text[], %(quantities)s::int[]) AS wanted (sku, quantity)
), locked AS MATERIALIZED (
    SELECT product.id, product.sku, product.price, product.on_hand - product.held AS available, wanted.quantity
    FROM catalogue_product AS product JOIN wanted ON wanted.sku = product.sku
    ORDER BY product.id
    FOR NO KEY UPDATE OF product
), reserved AS (
    UPDATE catalogue_product AS product SET held = product.held + locked.quantity
    FROM locked
    WHERE product.id = locked.id AND product.on_hand - product.held >= locked.quantity
    RETURNING product.id
)
SELECT locked.id, locked.sku, locked.price, locked.available, reserved.id IS NOT NULL
FROM locked LEFT JOIN reserved ON reserved.id = locked.id
