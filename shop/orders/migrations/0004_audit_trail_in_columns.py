"""The audit trail in columns: what, subject, states, reason, actor and amounts, instead of two texts.

A text of an event that this shop never wrote stops the migration, before anything changes: rename or delete such
entries first. The way back deletes entries of a kind that the old shop did not write: changes of attempts and alarms.
"""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

KNOWN = (
    r"^(placed|paid|reinstated|extended|revived|reminded|assigned|written_off|payment begun|gateway asked again|open again: more time"
    r"|(cancelled|closing): \w+|(refunded|refund due|review|refund decided): [0-9.]+|alarm removed: .*)$"
)

SPLIT = """
UPDATE orders_auditentry AS entry SET
    what = CASE
        WHEN old.event = 'payment begun' THEN 'opened'
        WHEN old.event = 'open again' THEN 'reopened'
        WHEN old.event IN ('refund due', 'review') THEN 'attempt'
        WHEN old.event = 'refund decided' THEN 'refund_decided'
        WHEN old.event = 'alarm removed' THEN 'alarm_removed'
        WHEN old.event = 'gateway asked again' THEN 'asked_again'
        ELSE old.event END,
    subject = CASE
        WHEN old.event IN ('payment begun', 'refunded', 'refund due', 'review', 'refund decided', 'alarm removed',
                           'gateway asked again', 'assigned', 'written_off') THEN 'attempt'
        ELSE 'order' END,
    before = CASE WHEN old.event = 'refund decided' THEN 'review' ELSE '' END,
    after = CASE
        WHEN old.event IN ('placed', 'reinstated', 'open again', 'extended', 'revived', 'reminded')
            THEN 'awaiting_payment'
        WHEN old.event IN ('paid', 'cancelled', 'closing', 'review') THEN old.event
        WHEN old.event = 'payment begun' THEN 'created'
        WHEN old.event IN ('refund due', 'refund decided') THEN 'orphaned'
        ELSE '' END,
    reason = CASE
        WHEN old.event IN ('cancelled', 'closing') THEN old.more
        WHEN old.event = 'open again' THEN 'more_time'
        WHEN old.event = 'reinstated' THEN 'late_money'
        WHEN old.who = 'nothing to pay' THEN 'nothing_to_pay'
        ELSE '' END,
    actor = CASE
        WHEN split_part(old.who, ' ', 1) IN ('timer', 'buyer', 'merchant', 'gateway') THEN split_part(old.who, ' ', 1)
        ELSE 'system' END,
    actor_id = CASE
        WHEN split_part(old.who, ' ', 1) IN ('timer', 'buyer', 'merchant', 'gateway')
            THEN substr(old.who, length(split_part(old.who, ' ', 1)) + 2)
        WHEN old.who IN ('nothing to pay', 'late payment') THEN ''
        ELSE old.who END,
    amount = CASE
        WHEN old.event IN ('refund due', 'review', 'refund decided') THEN old.more::numeric
        WHEN old.event IN ('placed', 'paid', 'reinstated', 'cancelled', 'closing', 'open again', 'payment begun')
            THEN orders.total
        END,
    refunded = CASE WHEN old.event = 'refunded' THEN old.more::numeric END,
    detail = CASE WHEN old.event = 'alarm removed' THEN old.more ELSE '' END
FROM (
    SELECT id, order_id, who, split_part(what, ': ', 1) AS event,
           substr(what, length(split_part(what, ': ', 1)) + 3) AS more
    FROM orders_auditentry
) AS old
JOIN orders_order AS orders ON orders.id = old.order_id
WHERE entry.id = old.id
"""

CHAIN = """
UPDATE orders_auditentry AS entry SET before = chain.before
FROM (
    SELECT id, lag(after, 1, '') OVER (PARTITION BY order_id ORDER BY id) AS before
    FROM orders_auditentry WHERE subject = 'order'
) AS chain
WHERE entry.id = chain.id
"""

JOIN = """
UPDATE orders_auditentry SET
    what = left(CASE
        WHEN what IN ('cancelled', 'closing') THEN what || ': ' || reason
        WHEN what = 'reopened' THEN 'open again: more time'
        WHEN what = 'opened' THEN 'payment begun'
        WHEN what = 'attempt' AND after = 'orphaned' THEN 'refund due: ' || coalesce(amount, 0)
        WHEN what = 'attempt' AND after = 'review' THEN 'review: ' || coalesce(amount, 0)
        WHEN what = 'refunded' THEN 'refunded: ' || coalesce(refunded, 0)
        WHEN what = 'refund_decided' THEN 'refund decided: ' || coalesce(amount, 0)
        WHEN what = 'asked_again' THEN 'gateway asked again'
        WHEN what = 'alarm_removed' THEN 'alarm removed: ' || detail
        ELSE what END, 100),
    who = left(CASE
        WHEN reason = 'late_money' THEN 'late payment'
        WHEN reason = 'nothing_to_pay' THEN 'nothing to pay'
        WHEN actor = 'reader' THEN 'timer'
        WHEN actor = 'system' THEN actor_id
        ELSE trim(actor || ' ' || actor_id) END, 100)
"""

NEW_KINDS = """
DELETE FROM orders_auditentry WHERE what = 'alarm' OR what = 'attempt' AND after NOT IN ('orphaned', 'review')
"""


def split(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Fill the columns from the two texts. Raises RuntimeError, before any change, for a text that is not known."""
    with editor.connection.cursor() as cursor:
        cursor.execute("SELECT what FROM orders_auditentry WHERE what !~ %s LIMIT 1", [KNOWN])
        if unknown := cursor.fetchone():
            raise RuntimeError(
                f"the audit trail has an event that this shop never wrote: {unknown[0]!r}. Nothing was changed. Rename "
                "such entries to one of the shop's events, or delete them, and migrate again"
            )
        cursor.execute(SPLIT)
        cursor.execute(CHAIN)
        # A row that one transaction writes twice has its foreign key checked at the end; a table is altered before.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def join(_apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    """Write the two texts again."""
    with editor.connection.cursor() as cursor:
        cursor.execute(NEW_KINDS)
        cursor.execute(JOIN)


def _added(name: str, field: models.Field) -> migrations.AddField:  # type: ignore[type-arg]  # for the checker alone
    return migrations.AddField("auditentry", name, field)


class Migration(migrations.Migration):
    dependencies = [("orders", "0003_audit_trail")]
    operations = [
        _added("subject", models.CharField(default="order", max_length=10)),
        _added("subject_id", models.CharField(blank=True, default="", max_length=64)),
        _added("before", models.CharField(blank=True, default="", max_length=20)),
        _added("after", models.CharField(blank=True, default="", max_length=20)),
        _added("reason", models.CharField(blank=True, default="", max_length=200)),
        _added("actor", models.CharField(default="system", max_length=10)),
        _added("actor_id", models.CharField(blank=True, default="", max_length=100)),
        _added("amount", models.DecimalField(decimal_places=2, max_digits=16, null=True)),
        _added("refunded", models.DecimalField(decimal_places=2, max_digits=16, null=True)),
        _added("detail", models.CharField(blank=True, default="", max_length=500)),
        # The way back: `who` exists again, nullable at first, before the texts are written into it.
        migrations.AlterField("auditentry", "who", models.CharField(default="", max_length=100)),
        migrations.RunPython(split, join),
        migrations.RemoveField("auditentry", "who"),
        migrations.AlterField("auditentry", "what", models.CharField(max_length=20)),
        migrations.AlterField("auditentry", "actor", models.CharField(max_length=10)),
    ]
