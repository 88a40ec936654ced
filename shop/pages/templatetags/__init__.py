"""What the templates add to Django's tags."""
