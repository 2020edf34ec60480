"""The machines of vagrant/, as far as they can be tried without one."""
