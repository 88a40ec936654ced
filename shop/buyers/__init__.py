"""Who buys: sign-up with an e-mail address, and tokens for the API."""
