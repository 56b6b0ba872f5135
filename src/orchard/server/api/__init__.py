"""The calls of the REST API: each parses, makes one call to the platform, and renders."""
