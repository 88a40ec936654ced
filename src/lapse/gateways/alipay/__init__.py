"""Alipay: the gateway, its messages, its signatures and its settings."""
