"""Writing messages into the outbox, in the shop's transaction."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.db import connections, router, transaction

from lapse.engine.clock import SYSTEM_CLOCK
from lapse.engine.deadline import check_key
from lapse.integrations.django.outbox.message import checked_type, document
from lapse.integrations.django.outbox.settings import outbox_settings
from lapse.integrations.django.outbox.wakeups import wake_all, workers_here
from lapse.integrations.django.rows.database_clock import DatabaseNow


def publish(type: str, *, key: str, data: Mapping[str, Any]) -> None:  # noqa: A002 - the word of the specification
    """Write a message for each endpoint that wants its type. Workers deliver it after the commit.

    Call it inside the transaction that makes the change: the message is rolled back with the change. Outside of a
    transaction, the message is committed at once. Messages of one `key` reach each endpoint in the sequence in which
    they were published. For this, lock the order's row, or another row of that key, before you publish.

    `data` is what JSON can be; dates, decimals and UUIDs become texts. Put no secret into it. Where no endpoint wants
    the type, the call does nothing. Raises ValueError or TypeError for a type, a key or data that no message can have.
    """
    publish_many(type, [(key, data)])


def publish_many(type: str, messages: Iterable[tuple[str, Mapping[str, Any]]]) -> int:  # noqa: A002 - as above
    """Write messages of one type, given as pairs of key and data, by one statement. Return how many there are.

    As `publish` for each. Pass a generator: where no endpoint wants the type, `messages` is not iterated over.
    """
    endpoints = outbox_settings().that_want(checked_type(type))
    if not endpoints:
        return 0
    model = apps.get_model("lapse_outbox", "Delivery")
    at, now = SYSTEM_CLOCK.now(), DatabaseNow()
    rows = []
    for key, data in messages:
        same = {
            "message": f"msg_{uuid4().hex}",
            "key": check_key(key),
            "type": type,
            "document": document(type, at, data),
            "due_at": now,
            "made_at": now,
        }
        rows += [model(endpoint=name, **same) for name in endpoints]
    using = router.db_for_write(model)
    model._base_manager.using(using).bulk_create(rows)  # noqa: SLF001 - Django's public API
    connection = connections[using]
    if workers_here() and (connection.in_atomic_block or connection.get_autocommit()):
        transaction.on_commit(wake_all, using=using, robust=True)  # without a transaction, this wakes at once
    return len(rows) // len(endpoints)
