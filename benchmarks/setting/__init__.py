"""What a measure needs around it: servers, databases, processes, a shop, a long log."""
