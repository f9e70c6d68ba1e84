"""A page to see rooms and orders live, in development alone. Its files are served as they are: there is no build."""
