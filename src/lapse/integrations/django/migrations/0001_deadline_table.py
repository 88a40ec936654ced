"""The table of a timer in the orders' database."""

from typing import ClassVar

from django.db import migrations
from django.db.migrations.operations.base import Operation

from lapse.integrations.django.deadline_table import DeadlineTable


class Migration(migrations.Migration):
    """It depends on no other migration, and no other migration depends on it."""

    initial = True
    operations: ClassVar[list[Operation]] = [DeadlineTable()]
