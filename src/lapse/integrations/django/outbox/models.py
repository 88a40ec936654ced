"""The outbox's one table: a row for each message and each endpoint that receives the message."""

from typing import ClassVar

from django.db import models


class State(models.TextChoices):
    """The states of a delivery."""

    WAITING = "waiting"
    """It will be sent, or is being sent."""
    DELIVERED = "delivered"
    BURIED = "buried"
    """Tried too often. It waits for a person, and so do the later messages of its key for this endpoint."""
    GIVEN_UP = "given_up"
    """A person decided not to send it. Later messages go on."""


OPEN = (State.WAITING, State.BURIED)
"""The states in which a delivery holds back the later messages of its key for its endpoint."""


class Delivery(models.Model):
    """One message for one endpoint. Its primary key is its place in the sequence of messages.

    Times are the database's. `token` rises with each claim and with each act of a person, so a worker that was frozen
    and comes back changes nothing. While a worker holds a claim, `due_at` is the end of the worker's lease.
    """

    message = models.CharField(max_length=40)
    """The id of the message, the same for all of its endpoints and in each try."""
    endpoint = models.CharField(max_length=100)
    """The endpoint's name in LAPSE_OUTBOX."""
    key = models.CharField(max_length=512)
    type = models.CharField(max_length=100)
    document = models.TextField()
    """The message as JSON in ASCII: type, timestamp and data."""
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    due_at = models.DateTimeField(null=True)
    """When to try again. Null unless the delivery waits."""
    tries = models.PositiveIntegerField(default=0)
    token = models.PositiveBigIntegerField(default=0)
    answer = models.CharField(max_length=200, blank=True, default="")
    """What the last try resulted in."""
    made_at = models.DateTimeField()
    tried_at = models.DateTimeField(null=True)
    """When the last try ended."""
    ended_at = models.DateTimeField(null=True)
    """When it was delivered or given up."""

    class Meta:
        """The indexes are for the due deliveries, the first of a key, the page, and the removal of old rows."""

        permissions: ClassVar = [("send_again", "Can send messages again and give messages up")]
        indexes: ClassVar = [
            models.Index(fields=["endpoint", "due_at"], name="lapse_outbox_due"),
            models.Index(fields=["endpoint", "key", "state"], name="lapse_outbox_first"),
            models.Index(fields=["key"], name="lapse_outbox_key"),
            models.Index(fields=["state", "ended_at"], name="lapse_outbox_ended"),
        ]

    def __str__(self) -> str:
        """Return the type, the key and the endpoint."""
        return f"{self.type} of {self.key} to {self.endpoint}: {self.state}"
