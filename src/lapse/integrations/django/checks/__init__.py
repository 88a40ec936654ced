"""What `manage.py check` finds in a shop's set-up, and the rehearsal on its database."""
