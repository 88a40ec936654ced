"""The drop-in for a script that listens to expired Redis keys: learns the keys, keeps a ledger of them, delivers."""
