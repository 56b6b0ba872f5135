"""The demo: a small synthetic archive, and the main job run on it."""
