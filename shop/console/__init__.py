"""The merchant's console: what is late, what was sold, what is held, and the few actions by hand."""
