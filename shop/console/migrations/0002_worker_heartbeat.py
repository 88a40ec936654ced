"""WorkerPulse becomes WorkerHeartbeat. Its table and its rows stay; its permissions keep their holders."""

from django.db import migrations, models

ACTIONS = ("add", "change", "delete", "view")


def rename_permissions(apps, schema_editor):
    rename(apps, "pulse", "heartbeat")


def restore_permissions(apps, schema_editor):
    rename(apps, "heartbeat", "pulse")


def rename(apps, before, after):
    """Rename what `migrate` created for the model; a new database has no permissions yet."""
    permissions = apps.get_model("auth", "Permission").objects
    for action in ACTIONS:
        found = permissions.filter(content_type__app_label="console", codename=f"{action}_worker{before}")
        found.update(codename=f"{action}_worker{after}")


class Migration(migrations.Migration):
    dependencies = [("console", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [
        migrations.AlterModelTable(name="workerpulse", table="console_workerpulse"),
        migrations.RenameModel(old_name="WorkerPulse", new_name="WorkerHeartbeat"),
        migrations.AlterField(
            model_name="workerheartbeat",
            name="latest_ms",
            field=models.PositiveBigIntegerField(null=True, verbose_name="greatest lateness, ms"),
        ),
        migrations.RunPython(rename_permissions, restore_permissions),
    ]
