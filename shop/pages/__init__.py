"""The pages of the shop, for buyers."""
