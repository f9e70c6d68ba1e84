"""Policies that hold for every request and answer, whatever its route: hosts, proxies, origins, headers."""
