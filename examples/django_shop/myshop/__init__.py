"""The smallest shop that lapses: one product per order, in a SQLite file."""
