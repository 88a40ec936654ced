"""Payments: attempts to pay an order, the payment gateways, and what becomes of the money. It stands above `orders`."""
