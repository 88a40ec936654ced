"""Lapsing orders: what a shop must be able to say and do, and the one transition that everything ends in."""
