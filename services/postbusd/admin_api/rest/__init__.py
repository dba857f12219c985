"""The REST interface: resources, routes and how errors look outside."""
