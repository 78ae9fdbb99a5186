"""Where events and results go: progress, JSONL log, report."""
