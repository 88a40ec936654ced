-- Writes `held` of some products, whose rows the caller has locked.
-- skus text[], held int[]: of the same length, one element per product.
UPDATE catalogue_product AS product SET held = counted.held
FROM unnest(%(skus)s::text[], %(held)s::int[]) AS counted (sku, held)
WHERE product.sku = counted.sku
