"""The HTTP framework: what every request passes on its way to a route and back. It knows no route of the shop."""
