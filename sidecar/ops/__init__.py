"""What can be seen of a replica: log lines, metrics and health. Nothing here decides about a request."""
