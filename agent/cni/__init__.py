"""What container runtimes are answered: requests read, the commands, results, the socket, the plugin's installation."""
