"""Orders: placed with their stock held, then paid, or cancelled with their stock released."""
