"""The shop's API: its document, its refusals, its pages."""
