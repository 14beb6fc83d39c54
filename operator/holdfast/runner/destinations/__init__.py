"""Where backups are stored: one module a kind of destination."""
