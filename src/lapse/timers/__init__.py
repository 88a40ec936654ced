"""The mechanisms: a folder for each, or one file. `lapse.config` chooses a mechanism by its URL."""
