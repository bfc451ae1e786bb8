"""The `skate` command: looks at running sessions of this user, keeps one alive, and shows what the engine does."""
