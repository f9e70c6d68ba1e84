"""The edge: connections, requests, what is taken and refused, several workers on one port."""
