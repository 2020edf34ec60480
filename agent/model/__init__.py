"""Everything the agent knows at one revision, as frozen values."""
