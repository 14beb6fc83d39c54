"""The whole story on the local cluster: an application's data backed up, lost, restored and compared."""
