"""The table of deliveries."""

from typing import ClassVar

from django.db import migrations, models
from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """It depends on no other migration."""

    initial = True
    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="Delivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("message", models.CharField(max_length=40)),
                ("endpoint", models.CharField(max_length=100)),
                ("key", models.CharField(max_length=512)),
                ("type", models.CharField(max_length=100)),
                ("document", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("delivered", "Delivered"),
                            ("buried", "Buried"),
                            ("given_up", "Given Up"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("due_at", models.DateTimeField(null=True)),
                ("tries", models.PositiveIntegerField(default=0)),
                ("token", models.PositiveBigIntegerField(default=0)),
                ("answer", models.CharField(blank=True, default="", max_length=200)),
                ("made_at", models.DateTimeField()),
                ("tried_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "permissions": [("send_again", "Can send messages again and give messages up")],
                "indexes": [
                    models.Index(fields=["endpoint", "due_at"], name="lapse_outbox_due"),
                    models.Index(fields=["endpoint", "key", "state"], name="lapse_outbox_first"),
                    models.Index(fields=["key"], name="lapse_outbox_key"),
                    models.Index(fields=["state", "ended_at"], name="lapse_outbox_ended"),
                ],
            },
        ),
    ]
