"""Orders with a real state machine, django-fsm-2, and a real history, django-simple-history."""

from importlib import import_module
from typing import Any

from django.db import models

from tests.django.wirings.shapes import State

fsm: Any = import_module("django_fsm")  # so that a type check needs neither package
records: Any = import_module("simple_history.models")


class Machined(models.Model):
    """An order that only its machine's methods may move, with a history and the time of the last change."""

    status = fsm.FSMField(default="awaiting", protected=True)
    pay_by = models.DateTimeField(db_index=True)
    changed_at = models.DateTimeField(auto_now=True)
    history = records.HistoricalRecords(user_db_constraint=False)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"

    def _cancel(self) -> None:
        """Do nothing else."""

    def _pay(self) -> None:
        """Do nothing else."""

    cancel = fsm.transition(field=status, source="awaiting", target="cancelled")(_cancel)
    pay = fsm.transition(field=status, source="awaiting", target="paid")(_pay)


HistoricalMachined: Any = Machined.history.model


class Keyed(models.Model):
    """An order whose machine's states are rows."""

    status = fsm.FSMKeyField(State, models.PROTECT, protected=True)
    pay_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"order {self.pk}"
