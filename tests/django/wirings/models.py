"""Orders whose condition `unpaid` reads more than one column of one table."""

from django.db import models


class Stock(models.Model):
    """The pieces of one product that can be sold. Its rows are raised when an order gives its pieces back."""

    pieces = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.pieces} pieces"


class Bill(models.Model):
    """An order that is paid in several ways of saying so."""

    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(null=True, db_index=True)
    placed_at = models.DateTimeField(null=True, db_index=True)
    seen_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(auto_now=True, db_index=True)
    paid = models.BooleanField(default=False)
    total = models.IntegerField(default=10)
    received = models.IntegerField(default=0)

    def __str__(self) -> str:
        return f"bill {self.pk}: {self.status}"


class BillLine(models.Model):
    """One line of a bill, with a state of its own."""

    bill = models.ForeignKey(Bill, models.CASCADE, related_name="lines")
    status = models.CharField(max_length=20, default="pending")

    def __str__(self) -> str:
        return f"line {self.pk}: {self.status}"


class BillPayment(models.Model):
    """Money for a bill."""

    bill = models.ForeignKey(Bill, models.CASCADE, related_name="payments")
    state = models.CharField(max_length=20, default="done")
    amount = models.IntegerField(default=10)

    def __str__(self) -> str:
        return f"payment {self.pk}: {self.amount}"


class Sale(models.Model):
    """The order of an application that the shop did not write: it has no deadline."""

    status = models.CharField(max_length=20, default="Pending")

    def __str__(self) -> str:
        return f"sale {self.pk}: {self.status}"


class SaleDeadline(models.Model):
    """The shop's own companion of a sale, with the deadline."""

    sale = models.OneToOneField(Sale, models.CASCADE, related_name="deadline")
    open = models.BooleanField(default=True)
    pay_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"deadline of sale {self.sale_id}"


class Admission(models.Model):
    """An order for a seat, with a key of two columns, a code that is unique, and states that are listed."""

    pk = models.CompositePrimaryKey("event", "number")
    event = models.IntegerField()
    number = models.IntegerField()
    code = models.CharField(max_length=8, unique=True)
    status = models.CharField(max_length=9, choices={"held": "Held", "sold": "Sold", "free": "Free"}, default="held")
    held_until = models.DateTimeField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"admission {self.code}: {self.status}"


class VoucherBill(Bill):
    """A bill with a table of its own for what only some bills have."""

    voucher = models.CharField(max_length=8, default="none")
    used = models.BooleanField(default=False)


class Proforma(models.Model):
    """An order that other rows refer to by its number, which is not its primary key."""

    number = models.CharField(max_length=20, unique=True)
    status = models.CharField(max_length=20, default="awaiting")
    pay_by = models.DateTimeField(null=True, db_index=True)

    def __str__(self) -> str:
        return f"invoice {self.number}: {self.status}"


class Transfer(models.Model):
    """Money for an invoice."""

    invoice = models.ForeignKey(Proforma, models.CASCADE, to_field="number", related_name="transfers")
    state = models.CharField(max_length=20, default="announced")

    def __str__(self) -> str:
        return f"transfer {self.pk}: {self.state}"


class SeatStatus(models.Model):
    """A status in a table of its own."""

    name = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.name


class SeatOrder(models.Model):
    """An order whose status is a foreign key."""

    status = models.ForeignKey(SeatStatus, models.PROTECT)
    pay_by = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"seat order {self.pk}: {self.status}"
