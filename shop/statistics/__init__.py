"""The figures of each day, changed with the orders, and the audit that proves them and the stock."""
