"""The columns that Lapse keeps of each attempt, under its names; and messages that say what was refunded.

Money that came before this migration and belongs to no order is asked about at once, and refunded. So are the attempts
that were closed in the last three days: their payments may still be reported.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

MONEY = """
UPDATE payments_paymentattempt SET
    paid = CASE WHEN state IN ('succeeded', 'orphaned') THEN amount END,
    ask_at = CASE
        WHEN state IN ('created', 'pending', 'unknown', 'orphaned') THEN statement_timestamp()
        WHEN state = 'closed' AND changed_at > statement_timestamp() - interval '3 days' THEN statement_timestamp()
    END
"""
STATES = ["created", "pending", "unknown", "closed", "failed", "succeeded", "orphaned", "refunded", "review"]
CHOICES = [(state, "refund due" if state == "orphaned" else state.title()) for state in STATES]


class Migration(migrations.Migration):
    dependencies = [("payments", "0002_alipay")]
    operations = [
        migrations.RemoveConstraint("paymentattempt", "attempt_state_known"),
        migrations.RemoveIndex("paymentattempt", "attempt_orphaned"),
        migrations.RenameField("paymentattempt", "out_trade_no", "reference"),
        migrations.RenameField("paymentattempt", "trade_no", "provider_reference"),
        migrations.AlterField(
            "paymentattempt", "state", models.CharField(choices=CHOICES, default="created", max_length=10)
        ),
        migrations.AddField(
            "paymentattempt", "paid", models.DecimalField(decimal_places=2, max_digits=16, null=True)
        ),
        migrations.AddField(
            "paymentattempt", "refunded", models.DecimalField(decimal_places=2, default=0, max_digits=16)
        ),
        migrations.AddField(
            "paymentattempt", "refunding", models.DecimalField(decimal_places=2, max_digits=16, null=True)
        ),
        migrations.AddField("paymentattempt", "alarm", models.CharField(blank=True, default="", max_length=500)),
        migrations.AddField("paymentattempt", "asks", models.PositiveSmallIntegerField(default=0)),
        migrations.AddField(
            "paymentattempt",
            "ask_at",
            models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), db_index=True, null=True),
        ),
        migrations.RunSQL(MONEY, migrations.RunSQL.noop),
        migrations.AddConstraint(
            "paymentattempt",
            models.CheckConstraint(condition=models.Q(("state__in", STATES)), name="attempt_state_known"),
        ),
        migrations.AddIndex(
            "paymentattempt",
            models.Index(
                condition=models.Q(("state__in", ["orphaned", "review"])),
                fields=["id"],
                name="attempt_with_money_to_return",
            ),
        ),
        migrations.RemoveConstraint("gatewaymessage", "message_accepted_once"),
        migrations.RemoveIndex("gatewaymessage", "message_of_attempt"),
        migrations.RenameField("gatewaymessage", "out_trade_no", "reference"),
        migrations.RenameField("gatewaymessage", "trade_no", "provider_reference"),
        migrations.RenameField("gatewaymessage", "trade_status", "status"),
        migrations.RenameField("gatewaymessage", "heard_at", "received_at"),
        migrations.AddField(
            "gatewaymessage", "refunded", models.DecimalField(decimal_places=2, default=0, max_digits=16)
        ),
        migrations.AddConstraint(
            "gatewaymessage",
            models.UniqueConstraint(
                condition=models.Q(("judged", "accepted")),
                fields=("provider", "provider_reference", "status", "refunded"),
                name="message_accepted_once",
            ),
        ),
        migrations.AddIndex("gatewaymessage", models.Index(fields=["reference"], name="message_of_attempt")),
    ]
