"""The web UI: reads run files (`runfile`), serves and shows them. It uses the public API only."""
