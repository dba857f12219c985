"""gRPC: generated messages, the codec between them and our values, typed clients, the server that carries a port."""
