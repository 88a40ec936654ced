"""The payment providers, one package for each."""
