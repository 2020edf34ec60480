"""Making the kernel's maps equal to what compile asks for; the only writer of maps."""
