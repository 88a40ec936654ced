"""The language in which an order was placed. A process of the version before may insert orders: the column has a default."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0004_audit_trail_in_columns")]
    operations = [
        migrations.AddField(
            model_name="order",
            name="language",
            field=models.CharField(blank=True, db_default="", default="", max_length=10),
        ),
    ]
