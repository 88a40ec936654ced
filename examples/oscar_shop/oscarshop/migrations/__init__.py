"""The migrations of the shop itself."""
