"""The audit trail of an order is `order.audit_trail`. Nothing changes in the database."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0002_console_indexes")]
    operations = [
        migrations.AlterField(
            model_name="auditentry",
            name="order",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="audit_trail", to="orders.order"
            ),
        ),
    ]
