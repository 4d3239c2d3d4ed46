"""Fuzzing: mutated messages through the decoders that read what strangers and other processes send.

`make fuzz` runs a million inputs; a short run is one of the tests. It starts from valid messages,
and an input may only be taken, or refused with an error that its decoder documents.
"""
