"""HTTP calls that end in time, for deliveries and for gateways: one limit for the whole call, and proxies."""
