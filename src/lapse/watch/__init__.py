"""The drop-in for a script that listens to expired Redis keys: learn the keys, keep a ledger, deliver."""
