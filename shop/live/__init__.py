"""Pages that update themselves: the database announces each change, and open event streams (SSE) carry it to pages."""
