"""How good pictures above the training size are, by each of several methods: made, stored, measured, reported."""
