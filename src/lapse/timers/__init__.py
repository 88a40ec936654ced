"""One file per mechanism; `lapse.config` chooses one by its URL."""
