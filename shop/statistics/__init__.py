"""The statistics of each day, changed with the orders, and the audit that checks them and the stock."""
