"""From the log into the streams, and whoever reads them."""
