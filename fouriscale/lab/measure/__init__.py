"""Numbers that say how good a picture is. Knows numpy, scipy, Pillow and torch."""
