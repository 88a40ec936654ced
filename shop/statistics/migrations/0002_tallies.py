from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('figures', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='tally',
            options={'ordering': ['-day', 'event'], 'verbose_name_plural': 'tallies'},
        ),
    ]
