"""Networks that are nowhere else by name."""
