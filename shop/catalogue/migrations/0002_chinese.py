from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("catalogue", "0001_initial")]
    operations = [
        migrations.AddField("product", "name_zh", models.CharField(max_length=120, blank=True, default="")),
        migrations.AddField("product", "description_zh", models.TextField(blank=True, default="")),
    ]
