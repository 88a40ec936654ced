"""`lapse_worker`, `lapse_sweep` and `lapse_arm`."""
