"""The deadline of which the buyer was reminded. A process of the version before inserts orders without it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0005_language")]
    operations = [
        migrations.AddField(
            model_name="order",
            name="reminded_of",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
