"""`lapse_outbox`."""
