"""Devices that pods have in place of a veth's end: how they are noted, given, guarded and taken back."""
