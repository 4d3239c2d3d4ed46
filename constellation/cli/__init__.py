"""What the commands of both programs share: flags, tables, errors and exit codes."""
