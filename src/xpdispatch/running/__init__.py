"""Running tiles."""
