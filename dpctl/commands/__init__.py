"""dpctl's commands, a noun or verb a file: arguments to rows. Each is imported when it is asked for."""
