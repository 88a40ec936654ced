"""Attempts with a unique column for the gateway's number of the payment; the numbers that are known are filled in."""

from django.db import migrations, models

KNOWN = """
UPDATE payments_paymentattempt AS own SET payment_key = gateway || ':' || provider_reference
WHERE provider_reference <> '' AND NOT EXISTS (
    SELECT 1 FROM payments_paymentattempt AS other
    WHERE other.gateway = own.gateway AND other.provider_reference = own.provider_reference AND other.id < own.id
)
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0004_work_list")]
    operations = [
        migrations.AddField(
            "paymentattempt",
            "payment_key",
            models.CharField(default=None, editable=False, max_length=106, null=True, unique=True),
        ),
        migrations.RunSQL(KNOWN, migrations.RunSQL.noop),
    ]
