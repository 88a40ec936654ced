"""The merchant's console: what is late, what was sold, what is held, and the few things to do by hand."""
