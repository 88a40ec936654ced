"""An order with an attempt to pay is not deleted. Django sees to that, and the table stays as it is."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0005_payment_key")]
    operations = [
        migrations.AlterField(
            "paymentattempt",
            "order",
            models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="attempts", to="orders.order"
            ),
        ),
    ]
