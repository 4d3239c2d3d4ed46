"""The services for operators, catalogue feeders and federations."""
