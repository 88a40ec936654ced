"""The database itself announces changes, so that no code that changes an order or stock can forget to."""

from django.db import migrations

# Statement-level triggers: one look at all the rows that a statement changed, so five hundred orders that lapse
# together are two notifications. They are sent at the commit, and never if there is none.
# A payload has at most 7,999 bytes: 390 numbers of up to 19 digits with their commas always fit.
ANNOUNCE = """
CREATE FUNCTION shop_announce_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shop_orders', string_agg(numbered.id::text, ','))
    FROM (SELECT id, (row_number() OVER () - 1) / 390 AS part FROM changed) AS numbered
    GROUP BY numbered.part;
    RETURN NULL;
END $$;

CREATE FUNCTION shop_announce_stock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        PERFORM pg_notify('shop_stock', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER shop_announce_orders AFTER UPDATE ON orders_order
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION shop_announce_orders();
CREATE TRIGGER shop_announce_stock AFTER UPDATE ON catalogue_product
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION shop_announce_stock();
"""
SILENCE = """
DROP TRIGGER shop_announce_stock ON catalogue_product;
DROP TRIGGER shop_announce_orders ON orders_order;
DROP FUNCTION shop_announce_stock();
DROP FUNCTION shop_announce_orders();
"""


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_initial"), ("catalogue", "0001_initial")]
    operations = [migrations.RunSQL(ANNOUNCE, SILENCE)]
