"""What Lapse's own tests use, for a shop's tests too: private servers, clocks, fault switches, conformance suites."""
