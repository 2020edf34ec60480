"""rtnetlink: its numbers and headers, its sockets, dumps and notices, and network namespaces."""
