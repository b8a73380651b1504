"""The notation and its parts."""
