"""The rehearsal of compose.yaml: each container by podman, out of Debian's packages, and a day's work on them."""
