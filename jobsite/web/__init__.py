"""The web server: waitress, with limits of time and size for every connection (docs/decisions/web-server.md)."""
