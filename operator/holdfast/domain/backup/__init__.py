"""What becomes of stored backups: kept or deleted, copied, found again, verified."""
