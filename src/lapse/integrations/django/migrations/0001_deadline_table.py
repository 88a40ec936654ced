"""The table of a timer that lives in the orders' own database."""

from typing import ClassVar

from django.db import migrations
from django.db.migrations.operations.base import Operation

from lapse.integrations.django.deadline_table import DeadlineTable


class Migration(migrations.Migration):
    """It depends on nothing, and nothing on it."""

    initial = True
    operations: ClassVar[list[Operation]] = [DeadlineTable()]
