"""All that speaks gRPC, over the kubelet's Unix sockets; `make build` makes classes of the .proto files."""
