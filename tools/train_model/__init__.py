"""Trains the model that the repository ships: `python -m tools.train_model --help`."""
