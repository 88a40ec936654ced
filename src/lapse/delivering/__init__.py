"""Signed HTTP deliveries: one POST per due deadline."""
