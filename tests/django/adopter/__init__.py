"""A small second shop, with models of its own: it adopts Lapse as any shop would."""
