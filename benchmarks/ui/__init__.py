"""What the web UI costs: measured in a real Chromium, and in the UI's process."""
