"""Order models as other shops have them: each wiring is ordinary, and each has broken a shop."""
