"""Numbers that say how good a picture is. Knows numpy and scipy only."""
