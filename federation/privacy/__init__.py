"""The differentially private mode: what may be spent, what was spent, and the noise itself."""
