"""For rehearsing in a shop's own tests what Lapse rehearses in its own: servers, clocks, faults, conformance."""
