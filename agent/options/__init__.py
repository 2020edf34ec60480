"""The agent's options: their values, where each comes from, and what the mounts say."""
