"""The journal of rounds: what each round did, what the next one needs, and who may run one."""
