"""Addresses for pods."""
