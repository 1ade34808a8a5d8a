"""Front ends: they translate words and errors, and hold no logic."""
