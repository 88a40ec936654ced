"""Tools for tests of Lapse and of shops: private servers, clocks, fault switches, conformance suites."""
