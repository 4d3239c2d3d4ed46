"""Each protection of docs/security.md is taken out of a copy, and its test must notice."""
