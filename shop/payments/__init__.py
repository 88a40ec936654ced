"""Attempts to pay an order, the seam to payment gateways, and the signed call that cancels an unpaid order."""
