"""One module per framework that a shop is built with."""
