"""The other side of each pair: well-known libraries and tutorial-style apps, each used as its documentation shows."""
