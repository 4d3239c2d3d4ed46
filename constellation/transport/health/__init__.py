"""The health of a process, for Kubernetes, load balancers and operators."""
