"""BIRD beside the agent: its configuration brought to what is wanted, and what it says of its sessions."""
