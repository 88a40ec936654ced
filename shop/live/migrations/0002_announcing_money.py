"""The database announces an order as well when the money of one of its attempts changes."""

from django.db import migrations

# The reconciler moves the time of the next question all the time. Only what a page may say is announced: the end of the
# questions is part of it. Numbers of orders, as many to a payload as in the first migration.
ANNOUNCE = """
CREATE FUNCTION shop_announce_money() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shop_orders', string_agg(numbered.order_id::text, ','))
    FROM (
        SELECT order_id, (row_number() OVER () - 1) / 390 AS part
        FROM changed JOIN before USING (id, order_id)
        WHERE (changed.state, changed.paid, changed.refunded, changed.alarm, changed.written_off, changed.ask_at IS NULL)
            IS DISTINCT FROM
            (before.state, before.paid, before.refunded, before.alarm, before.written_off, before.ask_at IS NULL)
    ) AS numbered
    GROUP BY numbered.part;
    RETURN NULL;
END $$;

CREATE TRIGGER shop_announce_money AFTER UPDATE ON payments_paymentattempt
    REFERENCING OLD TABLE AS before NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION shop_announce_money();
"""
SILENCE = """
DROP TRIGGER shop_announce_money ON payments_paymentattempt;
DROP FUNCTION shop_announce_money();
"""


class Migration(migrations.Migration):
    dependencies = [("live", "0001_announcing"), ("payments", "0007_written_off")]
    operations = [migrations.RunSQL(ANNOUNCE, SILENCE)]
