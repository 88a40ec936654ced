"""Money that a person has written off, with the reason; and since when an attempt has its state.

An older attempt has its state at least since it was changed last.
"""

import django.db.models.functions.datetime
from django.db import migrations, models
from django.db.models import Q

CHOICES = [
    ("created", "Created"),
    ("pending", "Pending"),
    ("unknown", "Unknown"),
    ("closed", "Closed"),
    ("failed", "Failed"),
    ("succeeded", "Succeeded"),
    ("orphaned", "refund due"),
    ("refunded", "Refunded"),
    ("review", "Review"),
    ("kept", "written off"),
]
STATES = [state for state, _ in CHOICES]


class Migration(migrations.Migration):
    dependencies = [("payments", "0006_kept_attempts")]
    operations = [
        migrations.RemoveConstraint("paymentattempt", "attempt_state_known"),
        migrations.AlterField(
            "paymentattempt", "state", models.CharField(choices=CHOICES, default="created", max_length=10)
        ),
        migrations.AddField("paymentattempt", "written_off", models.CharField(blank=True, default="", max_length=500)),
        migrations.AddField(
            "paymentattempt",
            "state_at",
            models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        migrations.RunSQL("UPDATE payments_paymentattempt SET state_at = changed_at", migrations.RunSQL.noop),
        migrations.AddConstraint(
            "paymentattempt", models.CheckConstraint(condition=Q(state__in=STATES), name="attempt_state_known")
        ),
        migrations.AddConstraint(
            "paymentattempt",
            models.CheckConstraint(
                condition=~Q(state="kept") | ~Q(written_off=""), name="attempt_written_off_with_a_reason"
            ),
        ),
    ]
