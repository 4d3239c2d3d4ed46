"""The journal: what each round did, what the next one builds on, and who may run one."""
