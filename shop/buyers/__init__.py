"""The buyers: their accounts by e-mail address, and their tokens for the API."""
