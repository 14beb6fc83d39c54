"""One BackupRun from its admission to its end and deletion."""
