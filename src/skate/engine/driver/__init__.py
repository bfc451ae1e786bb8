"""What only a driver does: start or join a session, show what workers print, Ctrl-C, the end."""
