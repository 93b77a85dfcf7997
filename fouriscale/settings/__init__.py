"""What a user says: the table of fields, settings, presets, and settings as text in a picture."""
