"""What must survive: run folders, key files, the registry."""
