"""The mechanisms, each in a folder or a file. `lapse.config` chooses the mechanism by the URL's scheme."""
