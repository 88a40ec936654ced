"""An index of the unpaid orders in Oscar's table: that of Oscar has every order, so a sweep would read all of them."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("order", "0021_billingaddress_code_shippingaddress_code")]
    operations = [
        migrations.RunSQL(
            "CREATE INDEX oscarshop_unpaid ON order_order (date_placed) WHERE status = 'Pending'",
            "DROP INDEX oscarshop_unpaid",
        )
    ]
