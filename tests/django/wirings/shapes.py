"""Order models of shapes that other shops have: keys, inheritance, managers, table names, relations."""

from typing import Any

from django.db import models
from django.db.models import Count

from tests.django.wirings.models import Bill


class Voucher(models.Model):
    """A discount that few orders have."""

    active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return f"voucher {self.pk}"


class Booking(models.Model):
    """The parent of several kinds of orders."""

    number = models.CharField(max_length=20, unique=True)
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(null=True, db_index=True)
    voucher = models.ForeignKey(Voucher, models.CASCADE, null=True)

    def __str__(self) -> str:
        return f"booking {self.number}: {self.status}"


class Room(Booking):
    """A kind of order, in a table of its own and in the parent's."""

    nights = models.IntegerField(default=1)

    def __str__(self) -> str:
        return f"room {self.number}"


class Suite(Room):
    """An order in three tables."""

    floor = models.IntegerField(default=1)

    def __str__(self) -> str:
        return f"suite {self.number}"


class State(models.Model):
    """A status that the shop's staff can add to."""

    name = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.name


class JoinedManager(models.Manager["Seat"]):
    """Reads each order together with its status."""

    def get_queryset(self) -> models.QuerySet["Seat"]:
        """Return the orders with `status` read."""
        return super().get_queryset().select_related("status")


class Seat(models.Model):
    """An order whose status is a foreign key."""

    status = models.ForeignKey(State, models.PROTECT)
    pay_by = models.DateTimeField(db_index=True)

    objects = JoinedManager()

    class Meta:
        """Every query of Lapse begins with this manager."""

        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"seat {self.pk}"


class Invoice(models.Model):
    """The bill of an order. Other rows refer to it by its number."""

    number = models.CharField(max_length=20, unique=True)
    status = models.CharField(max_length=20, default="open")

    def __str__(self) -> str:
        return f"invoice {self.number}: {self.status}"


class Invoiced(models.Model):
    """An order that has an invoice."""

    invoice = models.ForeignKey(Invoice, models.CASCADE, to_field="number", null=True, related_name="orders")
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"


class InvoiceLine(models.Model):
    """One line of an invoice, with a state of its own."""

    invoice = models.ForeignKey(Invoice, models.CASCADE, to_field="number", related_name="lines")
    status = models.CharField(max_length=20, default="open")

    def __str__(self) -> str:
        return f"line {self.pk}: {self.status}"


class Parcel(models.Model):
    """An order whose primary key is of two columns."""

    pk = models.CompositePrimaryKey("shop", "number")
    shop = models.IntegerField()
    number = models.IntegerField()
    code = models.CharField(max_length=20, unique=True)
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"parcel {self.code}"


class CountedManager(models.Manager["Counted"]):
    """Counts the parts of each order, and joins its voucher."""

    def get_queryset(self) -> Any:
        """Return the orders with `parts`."""
        return super().get_queryset().select_related("voucher").annotate(parts=Count("part"))


class Counted(models.Model):
    """An order whose base manager annotates, groups and joins."""

    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)
    voucher = models.ForeignKey(Voucher, models.CASCADE, null=True)

    objects = CountedManager()

    class Meta:
        """Every query of Lapse begins with this manager."""

        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"


class Part(models.Model):
    """One part of an order."""

    order = models.ForeignKey(Counted, models.CASCADE)

    def __str__(self) -> str:
        return f"part {self.pk}"


class AssembledManager(models.Manager["Assembled"]):
    """Joins the parts, so that an order comes once for each part."""

    def get_queryset(self) -> models.QuerySet["Assembled"]:
        """Return the orders with parts."""
        return super().get_queryset().filter(part__pk__gt=0)


class Assembled(Counted):
    """An order that is hidden as long as it has no part."""

    objects = AssembledManager()  # type: ignore[misc,assignment] # another manager than the parent has

    class Meta:
        """Every query of Lapse begins with this manager."""

        proxy = True
        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"assembled order {self.pk}"


class NotDeletedManager(models.Manager["Removable"]):
    """Hides the orders that were deleted."""

    def get_queryset(self) -> models.QuerySet["Removable"]:
        """Return the orders that were not deleted."""
        return super().get_queryset().filter(deleted=False)


class Removable(models.Model):
    """An order that is hidden in place of being deleted."""

    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)
    deleted = models.BooleanField(default=False)

    objects = NotDeletedManager()
    everything = models.Manager["Removable"]()

    class Meta:
        """Every query of Lapse begins with this manager."""

        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"


class SlowBill(Bill):
    """A bill by another name."""

    class Meta:
        """It has no table of its own."""

        proxy = True

    def __str__(self) -> str:
        return f"slow bill {self.pk}"


class Legacy(models.Model):
    """A table that another application made, with the names that it chose."""

    id = models.AutoField(primary_key=True, db_column="Ord-Nr")
    status = models.CharField(max_length=20, default="awaiting", db_column="select")
    pay_by = models.DateTimeField(db_index=True, db_column="pay by")

    class Meta:
        """Its names are words of SQL, and have blanks."""

        managed = False
        db_table = "order"

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"


class Picky(models.TextField):  # type: ignore[type-arg] # generic in the stubs only
    """A field that cannot read each value that its column may have, as a field for JSON or for money."""

    def from_db_value(self, value: str, expression: object, connection: object) -> str:
        """Return the text."""
        del expression, connection
        if value == "unreadable":
            raise ValueError("this text cannot be read")
        return value


class Noted(models.Model):
    """An order with columns that another program writes as well."""

    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(db_index=True)
    note = Picky(default="")
    day = models.DateField(null=True)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.status}"
