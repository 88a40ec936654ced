"""The table of windows. A shop with a column for the deadline has it too, and never reads it."""

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """No migration of another application depends on it."""

    dependencies: ClassVar[list[tuple[str, str]]] = [("lapse", "0001_deadline_table")]
    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="Window",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("orders", models.CharField(max_length=100)),
                ("field", models.CharField(max_length=100)),
                ("number", models.PositiveIntegerField()),
                ("window", models.DurationField()),
                ("since", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("orders", "field", "number"), name="lapse_window_number")
                ],
            },
        ),
    ]
