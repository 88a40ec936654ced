"""Pages that turn by themselves: the database announces what has changed, and open streams are told (SSE)."""
